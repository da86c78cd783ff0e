"""What the files of a run may hold. Parsing is strict: a value out of its range is damage and not plotted.

Fractions lie in 0..1 and an undefined number is null. Keys that this version does not know are ignored,
absent ones are null, so a result of a method without masks simply has no `masks`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hypermnesia.core.errors import HypermnesiaError

FORMAT = 1
"""The format of result.json and sweep.json that is read here; files without the key `format` count as 1."""

LARGEST_FILE = 256 * 2**20
"""Bytes. A larger JSON or TOML file is refused before it is read."""

_ROUNDING = 1e-9  # a mean of ones may exceed 1 by a rounding error
Fraction = Annotated[float, Field(ge=-_ROUNDING, le=1 + _ROUNDING)]
Change = Annotated[float, Field(ge=-1 - _ROUNDING, le=1 + _ROUNDING)]
LARGEST = 1e100
"""No number of a run is larger; without a bound the arithmetic of scales and means could overflow."""

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Cost = Annotated[float, Field(ge=0, le=LARGEST)]
Matrix = tuple[tuple[Fraction | None, ...], ...]


class Damaged(HypermnesiaError):
    """A file that cannot be used; the text is the reason, without the path."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


R = TypeVar("R", bound=_Record)


def _rectangle(name: str, rows: Sequence[Sequence[object]]) -> None:
    widths = {len(row) for row in rows}
    if len(widths) > 1 or widths == {0}:
        raise ValueError(
            f"the rows of {name} have {min(widths)} to {max(widths)} entries, expected one width, at least 1"
        )


class Scenario(_Record):
    """The accuracy matrix of one scenario (row t: after training task t) and the numbers made from it."""

    matrix: Matrix = ()
    average_accuracy: Fraction | None = None
    average_incremental_accuracy: Fraction | None = None
    forgetting: Change | None = None
    backward_transfer: Change | None = None
    forward_transfer: Change | None = None
    learning_accuracy: Fraction | None = None

    @model_validator(mode="after")
    def _matrix_is_rectangular(self) -> Self:
        _rectangle("matrix", self.matrix)
        return self


class Costs(_Record):
    """What a run took: counts, bytes, seconds."""

    trainable_parameters: Cost | None = None
    target_parameters: Cost | None = None
    generator_parameters: Cost | None = None
    stored_bytes: Cost | None = None
    train_seconds: Cost | None = None
    steps: Cost | None = None
    steps_per_second: Cost | None = None
    peak_memory_bytes: Cost | None = None


class Inference(_Record):
    """`confusion[i][t]`: the fraction of test set i that was taken for task t."""

    confusion: Matrix = ()

    @model_validator(mode="after")
    def _confusion_is_rectangular(self) -> Self:
        _rectangle("confusion", self.confusion)
        return self


class Masks(_Record):
    """`sparsity[tensor][t]`: share of zeros in task t's mask; `overlap[s][t]`: intersection ÷ union."""

    sparsity: dict[str, tuple[Fraction | None, ...]] = {}
    overlap: Matrix = ()

    @model_validator(mode="after")
    def _tables_are_rectangular(self) -> Self:
        _rectangle("overlap", self.overlap)
        _rectangle("sparsity", list(self.sparsity.values()))
        return self


class Memory(_Record):
    """What the replay memory held at the end: examples per class, and some of them as base64 of PNG files."""

    classes: dict[str, Annotated[int, Field(ge=0, le=10**15)]] = {}
    images: tuple[str, ...] = ()


class Anytime(_Record):
    """Accuracy between the task ends, in one scenario."""

    average_anytime_accuracy: Fraction | None = None
    worst_case_accuracy: Fraction | None = None
    stability_gap: Change | None = None


class Validation(_Record):
    """What a trial of a search has instead of test figures."""

    scenarios: dict[str, Scenario] = {}


class Result(_Record):
    """result.json of one seed."""

    benchmark: str
    approach: str
    seed: int
    config_sha256: str | None = None
    stream_sha256: str | None = None
    scenarios: dict[str, Scenario] = {}
    validation: Validation | None = None
    costs: Costs = Costs()
    infer: Inference | None = None
    embeddings: tuple[tuple[Number, ...], ...] = ()
    masks: Masks | None = None
    memory: Memory | None = None
    anytime: dict[str, Anytime] = {}
    class_names: tuple[str, ...] = ()
    task_names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _embeddings_are_rectangular(self) -> Self:
        _rectangle("embeddings", self.embeddings)
        return self


class Trial(_Record):
    """One trial of a sweep; `value` is the objective, null unless the trial got that far."""

    number: Annotated[int, Field(ge=0, le=10**9)]
    settings: dict[str, Any] = {}
    value: Number | None = None
    state: Literal["complete", "failed", "pruned", "running"]
    reason: str | None = None
    seconds: Cost | None = None


class Sweep(_Record):
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
    """The value in a JSON file; raises `Damaged`."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is not JSON (cut short?): {error}") from error


def read_record(path: Path, kind: type[R]) -> R:
    """A file as `Result` or `Sweep`; raises `Damaged` naming the first key that does not fit."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise Damaged(f"{path.name} holds a {type(value).__name__}, expected an object")
    if value.get("format", FORMAT) != FORMAT:
        raise Damaged(
            f"{path.name} has format {value['format']!r} and this version reads format {FORMAT}: "
            "it was written by another version of hypermnesia"
        )
    try:
        return kind.model_validate_json(json.dumps(value))
    except RecursionError as error:
        raise Damaged(f"{path.name} is nested too deeply") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Damaged(f"{path.name}: {where}: {first['msg'].removeprefix('Value error, ')}{more}") from error
