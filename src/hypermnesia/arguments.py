"""What the commands take from their words, checked. Imports what is heavy only when asked."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypermnesia.errors import HypermnesiaError

if TYPE_CHECKING:
    from hypermnesia.runs import Listen

_SETTING = re.compile(r"[A-Za-z_][\w.-]*\s*=")


def sorted_words(words: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(names, `key=value` settings), each in its order."""
    words = words or []
    settings = [word for word in words if _SETTING.match(word)]
    return [word for word in words if not _SETTING.match(word)], settings


def settings_of(file: Path | None) -> dict[str, object]:
    """The dotted settings in a TOML file."""
    from hypermnesia.config import from_toml
    from hypermnesia.recipes import flatten

    if file is None:
        return {}
    try:
        return flatten(from_toml(file.read_text(encoding="utf-8"), str(file)))
    except UnicodeDecodeError as error:
        raise HypermnesiaError(f"--config {file} is no UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise HypermnesiaError(f"--config {file} cannot be read: {error.strerror or error}") from error


def data_dir(path: Path | None) -> Path | None:
    """`path`, if it is a directory."""
    if path is not None and not path.is_dir():
        raise HypermnesiaError(f"--data-dir {path} is no directory; expected one that holds NAME/*.parquet")
    return path


def device(name: str) -> str:
    """`auto` decided, and the others checked."""
    import torch

    from hypermnesia.errors import unknown

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
        from hypermnesia.errors import unknown

        raise unknown(f"{option} value", given, known)
    return given


def listening(track: Sequence[str] | None) -> "Listen":
    """Progress on standard output, and the trackers."""
    from hypermnesia.display import console, showing, together
    from hypermnesia.track import tracking

    return together(showing(console()), tracking(track or ()))


def results(directory: Path) -> list[dict[str, Any]]:
    """The results of a run's finished seeds."""
    from hypermnesia.runs import Unusable, read_result, seed_directories

    seeds = seed_directories(directory)
    results = [result for seed in seeds if (result := read_result(seed)) is not None]
    if not results:
        raise Unusable(f"{directory} has not finished; go on with: hypermnesia resume {directory}")
    return results


def one_seed(directory: Path) -> Path:
    """DIR/seed-K of a run with one seed, or the seed's directory itself."""
    from hypermnesia.runs import seed_directories

    seeds = seed_directories(directory)
    if len(seeds) > 1:
        names = ", ".join(seed.name for seed in seeds)
        raise HypermnesiaError(f"{directory} holds {len(seeds)} seeds ({names}); name one: {seeds[0]}")
    return seeds[0]
