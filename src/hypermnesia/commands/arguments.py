"""What the commands take from their words, checked. Imports what is heavy only when asked."""

import contextlib
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypermnesia.core.errors import HypermnesiaError

if TYPE_CHECKING:
    from hypermnesia.runs.execute import Listen


Words = Annotated[list[str] | None, typer.Argument(metavar="WORD...", show_default=False)]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory, or one seed's in it.")]
Seeds = Annotated[str, typer.Option(help="0,1,2 or 0..4 (both ends included).")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where data sets lie as NAME/*.parquet; what is not there comes from the Hugging Face hub.",
        metavar="DIR",
        show_default="$HYPERMNESIA_DATA",
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Where the run goes.", metavar="DIR", show_default="below runs/")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Stack = Annotated[
    str,
    typer.Option(
        help="Train all seeds as one program: on, off, or auto where it pays. Equal but for rounding."
    ),
]
StackWherePays = Annotated[
    str,
    typer.Option(
        help="Train the seeds of an approach as one program where it pays (auto), or off. Equal but for rounding."
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        help="Also log to csv, tensorboard, wandb, mlflow, or several: csv,tensorboard.", show_default=False
    ),
]

TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Run the code (python:MODULE:NAME) that DIR's configuration names."),
]

_SETTING = re.compile(r"[A-Za-z_][\w.-]*\s*=")


def sorted_words(words: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(names, `key=value` settings), each in its order."""
    words = words or []
    settings = [word for word in words if _SETTING.match(word)]
    return [word for word in words if not _SETTING.match(word)], settings


def benchmark_and_approach(names: Sequence[str], defaults: tuple[str, str]) -> tuple[str, str]:
    """The two that `names` and, for what they leave out, `defaults` give. Raises for too many and for swapped ones."""
    from hypermnesia.data import BENCHMARKS
    from hypermnesia.experiments.approaches import APPROACHES

    if len(names) > 2:
        raise HypermnesiaError(f"run takes one benchmark and one approach; {names[2]!r} is one word too many")
    if names and names[0] in APPROACHES and names[0] not in BENCHMARKS:
        benchmark = names[1] if len(names) > 1 and names[1] not in APPROACHES else defaults[0]
        raise HypermnesiaError(
            f"{names[0]!r} is an approach, and the benchmark comes first: hypermnesia run {benchmark} {names[0]}"
        )
    benchmark, approach = [*names, *defaults[len(names) :]]
    return benchmark, approach


def settings_of(file: Path | None) -> dict[str, object]:
    """The dotted settings in a TOML file."""
    from hypermnesia.experiments.config import from_toml
    from hypermnesia.experiments.recipes import flatten

    if file is None:
        return {}
    try:
        return flatten(from_toml(file.read_text(encoding="utf-8"), str(file)))
    except UnicodeDecodeError as error:
        raise HypermnesiaError(f"--config {file} is no UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise HypermnesiaError(f"--config {file} cannot be read: {error.strerror or error}") from error


def data_dir(path: Path | None, environment: bool = True) -> Path | None:
    """`path`, or what HYPERMNESIA_DATA says if `environment` may; raises unless it is a directory."""
    said = "--data-dir"
    if path is None and environment and os.environ.get("HYPERMNESIA_DATA"):
        path, said = Path(os.environ["HYPERMNESIA_DATA"]), "HYPERMNESIA_DATA"
    if path is not None and not path.is_dir():
        raise HypermnesiaError(f"{said} {path} is no directory; expected one that holds NAME/*.parquet")
    return path


def device(name: str) -> str:
    """`auto` decided, and the others checked."""
    import torch

    from hypermnesia.core.errors import unknown

    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise HypermnesiaError(
            "--device cuda: torch sees no CUDA device here; leave --device out to use the CPU"
        )
    return "cuda" if there and name != "cpu" else "cpu"


def choice(option: str, given: str, known: tuple[str, ...]) -> Any:
    """`given`, if it is one of the known ones."""
    if given not in known:
        from hypermnesia.core.errors import unknown

        raise unknown(f"{option} value", given, known)
    return given


def listening(track: Sequence[str] | None) -> "Listen":
    """Progress on standard output, and the trackers."""
    from hypermnesia.commands.progress import console, showing, together
    from hypermnesia.runs.trackers import tracking

    names = [name.strip() for several in track or () for name in several.split(",")]
    return together(showing(console()), tracking(names))


def code_of(directory: Path, trusted: bool) -> AbstractContextManager[None]:
    """The block in which code that the configuration in `directory` names is run only if it is trusted."""
    if trusted:
        return contextlib.nullcontext()
    from hypermnesia.core.registry import refusing

    return refusing(
        f"{directory} names code of its own, which this command would run; where you trust it, add --trust-code"
    )


def results(directory: Path) -> list[dict[str, Any]]:
    """The results of a run's finished seeds."""
    from hypermnesia.runs.directory import Unusable, read_result, seed_directories

    seeds = seed_directories(directory)
    results = [result for seed in seeds if (result := read_result(seed)) is not None]
    if not results:
        raise Unusable(f"{directory} has not finished; go on with: hypermnesia resume {directory}")
    return results


def one_seed(directory: Path) -> Path:
    """DIR/seed-K of a run with one seed, or the seed's directory itself."""
    from hypermnesia.runs.directory import seed_directories

    seeds = seed_directories(directory)
    if len(seeds) > 1:
        names = ", ".join(seed.name for seed in seeds)
        raise HypermnesiaError(f"{directory} holds {len(seeds)} seeds ({names}); name one: {seeds[0]}")
    return seeds[0]


MOST = 1000
"""Seeds of one command; more is taken for a slip."""
LARGEST = 2**63 - 1
_PART = re.compile(r"([0-9]{1,19})(?:\.\.([0-9]{1,19}))?")


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` names, in its order: numbers and inclusive ranges `FIRST..LAST`, separated by commas.

    Raises `HypermnesiaError` for anything else, for a range that runs backwards, for a seed named twice, and for more
    than `MOST` of them.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise _error(text, f"{part.strip()!r} is neither a number from 0 on nor a range")
        first, last = int(found[1]), int(found[2] or found[1])
        if last > LARGEST:
            raise _error(text, f"{last} is beyond 64 bits")
        if last < first:
            raise _error(text, f"the range {part.strip()} runs backwards")
        if last - first + len(seeds) >= MOST:
            raise _error(text, f"these are more than {MOST} seeds")
        seeds.extend(range(first, last + 1))
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise _error(text, f"seed {twice[0]} occurs twice")
    return tuple(seeds)


def _error(text: str, fault: str) -> HypermnesiaError:
    return HypermnesiaError(f"--seeds {text}: {fault}; write 0,1,2 or 0..4 (both ends included)")
