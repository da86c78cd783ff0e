"""What the files of a run hold: the one definition for those who write them and those who read them.

Parsing is strict: a key that every run has and that is missing, or a value out of its range, is damage. Fractions lie in
0..1 (R² may be below 0) and an undefined number is null. Keys that this version does not know are ignored, and what applies
to some runs only may be absent: a result of a method without masks simply has no `masks`.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import entries, write_json
from hypermnesia.evaluation.figures import ANYTIME, METRICS, where_classes_return

FORMAT = 1
"""The format of result.json and sweep.json; a sweep.json without the key `format` counts as 1."""

LARGEST_FILE = 256 * 2**20
"""Bytes. A larger JSON or TOML file is refused before it is read."""

CHECKSUM = "checksum"
"""The key under which a file of results holds the SHA-256 of the rest, as Python's `json.dumps` writes it."""

_MOST_DIGITS = 300
"""Of an integer in a JSON file; nothing here counts further."""
_SEED = re.compile(r"seed-(0|[1-9]\d{0,18})")

_ROUNDING = 1e-9  # a mean of ones may exceed 1 by a rounding error
Fraction = Annotated[float, Field(ge=-_ROUNDING, le=1 + _ROUNDING)]
_DIFFERENCES = {figure.name for figure in (*METRICS, *ANYTIME) if figure.unit == "points"}
LARGEST = 1e100
"""No number of a run is larger; without a bound the arithmetic of scales and means could overflow."""

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Cost = Annotated[float, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(ge=-LARGEST, le=1 + _ROUNDING)]
"""A fraction of right answers in 0..1, or R²; a `Result` without a target holds no R²."""
Matrix = tuple[tuple[Share | None, ...], ...]
Errors = tuple[tuple[Cost | None, ...], ...]


class Damaged(HypermnesiaError):
    """A file that cannot be used; the text is the reason, without the path."""


class Record(BaseModel):
    """An object on disk."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


R = TypeVar("R", bound=Record)


def _rectangle(name: str, rows: Sequence[Sequence[object]]) -> None:
    widths = {len(row) for row in rows}
    if len(widths) > 1 or widths == {0}:
        raise ValueError(
            f"the rows of {name} have {min(widths)} to {max(widths)} entries, expected one width, at least 1"
        )


class Scenario(Record):
    """The accuracy matrix of one scenario (row t: after training task t) and the numbers made from it."""

    matrix: Matrix
    average_accuracy: Share | None
    average_incremental_accuracy: Share | None
    forgetting: Number | None
    backward_transfer: Number | None
    forward_transfer: Number | None
    learning_accuracy: Share | None
    missing_class_accuracy: Share | None = None
    mean_absolute_error: Cost | None = None
    error_matrix: Errors = ()

    @model_validator(mode="after")
    def _matrix_is_rectangular(self) -> Self:
        _rectangle("matrix", self.matrix)
        return self


class Costs(Record):
    """What a run took: counts, bytes, seconds."""

    trainable_parameters: Cost | None = None
    target_parameters: Cost | None = None
    generator_parameters: Cost | None = None
    stored_bytes: Cost | None = None
    train_seconds: Cost | None = None
    steps: Cost | None = None
    steps_per_second: Cost | None = None
    peak_memory_bytes: Cost | None = None


class Inference(Record):
    """`confusion[i][t]`: the fraction of test set i that was taken for task t."""

    confusion: Matrix = ()

    @model_validator(mode="after")
    def _confusion_is_rectangular(self) -> Self:
        _rectangle("confusion", self.confusion)
        return self


class Masks(Record):
    """`sparsity[tensor][t]`: share of zeros in task t's mask; `overlap[s][t]`: intersection ÷ union."""

    sparsity: dict[str, tuple[Fraction | None, ...]] = {}
    overlap: Matrix = ()

    @model_validator(mode="after")
    def _tables_are_rectangular(self) -> Self:
        _rectangle("overlap", self.overlap)
        _rectangle("sparsity", list(self.sparsity.values()))
        return self


class Memory(Record):
    """What the replay memory held at the end: examples per class, and some of them as base64 of PNG files."""

    classes: dict[str, Annotated[int, Field(ge=0, le=10**15)]] = {}
    images: tuple[str, ...] = ()


class Anytime(Record):
    """Accuracy between the task ends, in one scenario."""

    average_anytime_accuracy: Share | None = None
    worst_case_accuracy: Share | None = None
    stability_gap: Number | None = None


class Validation(Record):
    """What a trial of a search has instead of test figures."""

    scenarios: dict[str, Scenario] = {}


class Result(Record):
    """result.json of one seed."""

    format: int
    benchmark: str
    approach: str
    seed: int
    config_sha256: str
    stream_sha256: str
    scenarios: dict[str, Scenario]
    costs: Costs
    class_names: tuple[str, ...]
    task_names: tuple[str, ...]
    validation: Validation | None = None
    infer: Inference | None = None
    embeddings: tuple[tuple[Number, ...], ...] = ()
    masks: Masks | None = None
    memory: Memory | None = None
    anytime: dict[str, Anytime] = {}
    target: str | None = None
    """What the numbers are, where numbers were learned: accuracies are then R²."""
    search: dict[str, Any] | None = None
    """What the search cost whose winner this is: its space, its trials, their seconds."""

    @property
    def tests_are_classes(self) -> bool:
        """Whether tests are of classes, which return, and not of tasks."""
        return where_classes_return(found.model_fields_set for found in self.scenarios.values())

    @model_validator(mode="after")
    def _accuracies_are_fractions(self) -> Self:
        held = [
            *self.scenarios.values(),
            *self.anytime.values(),
            *(self.validation or Validation()).scenarios.values(),
        ]
        for part in held if self.target is None else ():
            values = part.model_dump(exclude={"matrix", "error_matrix", "mean_absolute_error"}).items()
            cells = (("matrix", cell) for row in getattr(part, "matrix", ()) for cell in row)
            for name, value in (*values, *cells):
                least = -1 if name in _DIFFERENCES else 0
                if value is not None and not least - _ROUNDING <= value <= 1 + _ROUNDING:
                    raise ValueError(f"{name} has {value:g}, expected {least} to 1")
        return self

    @model_validator(mode="after")
    def _embeddings_are_rectangular(self) -> Self:
        _rectangle("embeddings", self.embeddings)
        return self


class Trial(Record):
    """One trial of a sweep; `value` is the objective, null unless the trial got that far."""

    number: Annotated[int, Field(ge=0, le=10**9)]
    settings: dict[str, Any] = {}
    value: Number | None = None
    state: Literal["complete", "failed", "pruned", "running"]
    reason: str | None = None
    seconds: Cost | None = None


class Spread(Record):
    """A number over several seeds: see `evaluation.statistics`."""

    mean: Number | None
    std: Number | None
    ci95: Number | None
    n: Annotated[int, Field(ge=0)]


class Summary(Record):
    """summary.json: every figure over the finished seeds of a run."""

    benchmark: str
    approach: str
    config_sha256: str
    seeds: tuple[int, ...]
    scenarios: dict[str, dict[str, Spread]]
    costs: dict[str, Spread]


class Continues(Record):
    """What a run goes on with, and from where: see `runs.continuation`."""

    further: dict[str, Any]
    tasks: Annotated[int, Field(ge=0)]
    classes: Annotated[int, Field(ge=0)]
    stream_sha256: str
    retest: bool
    earlier: dict[str, Any] | None = None


class Environment(Record):
    """environment.json, as far as a run is told by it how to go on; the rest is for people."""

    seed: int
    device: str = "cpu"
    data_dir: str | None = None
    sealed: bool = False
    seeds: tuple[int, ...] = ()
    continues: Continues | None = None


class Sweep(Record):
    """sweep.json: the space, every trial, the best one's number and its run on test with fresh seeds.

    `maximise`: whether more of the objective is better; early versions did not say.
    """

    benchmark: str
    approach: str
    objective: str
    maximise: bool | None = None
    space: dict[str, Any] = {}
    trials: tuple[Trial, ...] = ()
    best: int | None = None
    final: dict[str, Any] | None = None


class Search(Record):
    """search.json: which search a directory holds."""

    id: str
    """By which a worker knows whether it sees the same disk."""
    search: dict[str, Any] = {}


class Outcome(Record):
    """trial.json: what became of a trial, or of another job of a search.

    `interrupted`: it could not go on for no reason of its own (a signal, a full disk), and is to run again.
    """

    state: Literal["complete", "pruned", "failed", "interrupted"]
    value: Number | None = None
    """The objective, mean over the seeds; of complete trials only."""
    reason: str | None = None
    """Why it failed, was given up or interrupted."""
    seconds: Cost = 0.0
    """Wall-clock time, over all attempts that could tell."""
    scores: tuple[Share | None, ...] = ()
    """Validation accuracy, or R², after each task, of one seed after the other; None where it was not measured."""
    files: dict[str, str] = {}
    """Path below the trial's directory → base64: everything to keep, where the worker sees another disk."""


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; raises `Damaged` when it is absent, too large, unreadable or not UTF-8."""
    try:
        if not path.is_file():  # absent, or a pipe that would never end
            raise Damaged(f"{path.name} is not there")
        length = path.stat().st_size
        if length > LARGEST_FILE:
            raise Damaged(f"{path.name} has {length} bytes, expected at most {LARGEST_FILE}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Damaged(f"{path.name} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file; raises `Damaged`, also for numbers that are not finite."""
    try:
        return json.loads(read_text(path), parse_float=_finite, parse_constant=_finite, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is not JSON (cut short?): {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises `Damaged`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise Damaged(f"{path.name} holds a {type(value).__name__}, expected an object")
    return value


def read_record(path: Path, kind: type[R]) -> R:
    """A file as one of the types above; raises `Damaged` naming the first key that does not fit."""
    return _checked(path, read_object(path), kind)


def read_plain(path: Path, kind: type[Record]) -> dict[str, Any]:
    """The same as plain values, with the keys that `kind` does not know."""
    value = read_object(path)
    _checked(path, value, kind)
    return value


def _checked(path: Path, value: dict[str, Any], kind: type[R]) -> R:
    """The value as one of the types; it is held against its checksum, if it has one, and loses that."""
    checksum = value.pop(CHECKSUM, None)
    if value.get("format", FORMAT) != FORMAT:
        raise Damaged(
            f"{path.name} has format {value['format']!r} and this version reads format {FORMAT}: "
            "it was written by another version of hypermnesia"
        )
    try:
        text = json.dumps(value)
        if checksum not in (None, _digest(text)):
            raise Damaged(f"{path.name} is damaged: its checksum does not match")
        return kind.model_validate_json(text)
    except RecursionError as error:
        raise Damaged(f"{path.name} is nested too deeply") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Damaged(f"{path.name}: {where}: {first['msg'].removeprefix('Value error, ')}{more}") from error


def write_record(path: Path, kind: type[Record], value: Mapping[str, Any]) -> None:
    """Replace a file by `value`, which has to be what those who read it expect."""
    text = json.dumps(value, allow_nan=False)
    kind.model_validate_json(text)
    write_json(path, {**value, CHECKSUM: _digest(text)})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def seeds_in(directory: Path) -> list[Path]:
    """The directories DIR/seed-K of a run, in the order of K."""
    found = {int(d.name[5:]): d for d in entries(directory) if _SEED.fullmatch(d.name)}
    return [found[number] for number in sorted(found)]
