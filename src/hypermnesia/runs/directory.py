"""What a run directory holds, read back and checked."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import replace_file
from hypermnesia.data import Stream
from hypermnesia.data.outline import from_outline, outline
from hypermnesia.experiments.recipes import flatten
from hypermnesia.experiments.resolve import Config, from_toml
from hypermnesia.runs.environment import environment
from hypermnesia.runs.results import FORMAT
from hypermnesia.training.loop import Fit


class Unusable(HypermnesiaError):
    """A run directory that is damaged, holds another run, or is in use."""


def saved_config(directory: Path) -> Config:
    """The configuration that a seed directory was started with; raises `Unusable` if it cannot be told."""
    try:
        return from_toml((directory / "config.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{directory} is no run directory: config.toml cannot be read ({error})") from error
    except HypermnesiaError as error:
        raise Unusable(f"{directory} is damaged or of another version: config.toml: {error}") from error


def environment_of(directory: Path) -> dict[str, Any]:
    """What environment.json says: seed, device, versions; raises `Unusable` if that cannot be told."""
    try:
        saved = json.loads((directory / "environment.json").read_bytes())
        if type(saved["seed"]) is not int:
            raise ValueError(f"seed is {saved['seed']!r}")
        for key in ("data_dir", "device"):
            if not isinstance(saved.get(key), str | None):
                raise ValueError(f"{key} is {saved[key]!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable(f"{directory} is damaged: environment.json cannot be used ({error})") from error
    return saved


def saved_stream(directory: Path) -> Stream:
    """The stream of a seed directory's run, without its samples."""
    try:
        return from_outline(json.loads((directory / "stream.json").read_bytes()))
    except (OSError, ValueError, RecursionError, HypermnesiaError) as error:
        raise Unusable(f"{directory} is damaged: stream.json cannot be used ({error})") from error


def task_names(directory: Path) -> list[str]:
    """The names of the tasks in the stream of a seed directory's run."""
    return [task.name for task in saved_stream(directory).tasks]


FIGURES = (
    *("average_accuracy", "average_incremental_accuracy", "forgetting"),
    *("backward_transfer", "forward_transfer", "learning_accuracy"),
)
"""Of every scenario, beside its matrix."""


def read_result(directory: Path) -> dict[str, Any] | None:
    """The result of a finished seed directory, None if it has none; raises `Unusable` for a damaged one."""
    path = directory / "result.json"
    if not exists(path):
        return None
    try:
        result = json.loads(path.read_bytes())
        if not isinstance(result, dict) or not isinstance(result.get("config_sha256"), str):
            raise ValueError("it is no result of a run")
        if result.get("format") != FORMAT:
            raise ValueError(f"it has format {result.get('format')!r}, this version reads {FORMAT}")
        if not _whole(result):
            raise ValueError("it is damaged")
    except (OSError, ValueError, RecursionError) as error:
        raise Unusable(f"{path} cannot be used ({error}); remove it to run again") from error
    return result


def _whole(result: Mapping[str, Any]) -> bool:
    """Whether everything that commands read of a result is there, and of its kind."""
    texts = [result.get("benchmark"), result.get("approach")]
    names = [result.get("class_names"), result.get("task_names")]
    scenarios, costs = result.get("scenarios"), result.get("costs")
    if not (isinstance(scenarios, dict) and isinstance(costs, dict) and isinstance(result.get("seed"), int)):
        return False
    lists = all(isinstance(each, list) and all(isinstance(n, str) for n in each) for each in names)
    return (
        lists
        and all(isinstance(text, str) for text in texts)
        and all(_figure(value) for value in costs.values())
        and all(isinstance(found, dict) and _whole_scenario(found) for found in scenarios.values())
    )


def _whole_scenario(found: Mapping[str, Any]) -> bool:
    matrix = found.get("matrix")
    return (
        isinstance(matrix, list)
        and all(isinstance(row, list) and all(_figure(value) for value in row) for row in matrix)
        and all(key in found for key in FIGURES)
        and all(_figure(value) for key, value in found.items() if key != "matrix")
    )


def _figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def seed_directories(directory: Path) -> list[Path]:
    """DIR/seed-K in the order of K; the directory itself if it is one."""
    if (directory / "config.toml").is_file():
        return [directory]
    found = [d for d in directory.glob("seed-*") if (d / "config.toml").is_file() and d.name[5:].isdecimal()]
    if not found:
        raise Unusable(f"{directory} holds no run: expected seed-K/config.toml in it")
    return sorted(found, key=lambda d: int(d.name[5:]))


def stream_sha256(directory: Path) -> str:
    """The checksum of the data that a seed directory's run was begun on."""
    try:
        return str(json.loads((directory / "stream.json").read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable(f"{directory} is damaged: stream.json cannot be used ({error})") from error


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise HypermnesiaError(f"{path} cannot be looked at: {error.strerror or error}") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON; the file is the old one or the new one at any moment."""
    replace_file(path, json.dumps(value, indent=1, allow_nan=False).encode())


@dataclass(frozen=True)
class Place:
    """Where a run with one seed lives."""

    directory: Path
    """DIR/seed-K."""
    data_dir: Path | None = None
    device: str = "cpu"
    sealed: bool = False
    """Evaluate on validation parts only (searches)."""


@dataclass(frozen=True)
class Entry:
    """A run that is to be: one seed of a configuration."""

    cfg: Config
    seed: int
    place: Place


def default_directory(cfg: Config, root: Path = Path("runs")) -> Path:
    """runs/BENCHMARK/APPROACH-<first 8 of the configuration's hash>; characters that paths dislike are replaced."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in cfg.benchmark).strip(".") or "stream"
    return root / safe / f"{cfg.approach.name}-{cfg.sha256[:8]}"


def finished_result(cfg: Config, seed: int, directory: Path) -> dict[str, Any] | None:
    """The result of this very run if it is finished in `directory`; None if it is unfinished or not there at all.

    Raises `Unusable` when the directory holds anything else.
    """
    if not exists(directory):
        return None
    _check_config(cfg, seed, directory)
    result = read_result(directory)
    if result is not None and result["config_sha256"] != cfg.sha256:
        raise Unusable(
            f"{directory}/result.json is not of the configuration beside it; remove it to run again"
        )
    return result


# ------------------------------------------------------------------------------------------------- the directory


def _check_config(cfg: Config, seed: int, directory: Path) -> None:
    """Raise unless `directory` holds the run of `cfg` with `seed`."""
    there = saved_config(directory)
    _check_same(there, cfg, directory)
    saved = environment_of(directory)["seed"]
    if saved != seed:
        raise Unusable(f"{directory} holds a run with seed {saved}, not {seed}; {_OTHER}")
    ours, theirs = _seeds(cfg), _seeds(there)
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise Unusable(f"{directory} holds a run with {key}={theirs.get(key)}, not {value}; {_OTHER}")


def _check_same(there: Config, cfg: Config, directory: Path) -> None:
    if there.sha256 != cfg.sha256:
        raise Unusable(
            f"{directory} holds a run with another configuration ({there.sha256[:8]}, not {cfg.sha256[:8]}); "
            f"{_OTHER}"
        )


_OTHER = "give another --out, or remove it"


def _seeds(cfg: Config) -> dict[str, Any]:
    """What sets single sources of randomness: it changes results, but is no part of the configuration's hash."""
    return {
        key: value
        for key, value in flatten(cfg.tree()).items()
        if key.startswith("seeds.") or key == "stream.seed"
    }


def create(
    cfg: Config,
    seed: int,
    place: Place,
    run: Fit,
    more: Mapping[str, Any] | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> None:
    """Make the directory appear by one rename, with its configuration inside.

    `more`: for environment.json. `prepare` may put further files into the directory before it appears.
    """
    directory = place.directory
    fresh = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    about = (
        environment(place.device)
        | {
            "seed": seed,
            "sealed": place.sealed,
            "threads": cfg.sections["train"].threads or torch.get_num_threads(),
            "data_dir": str(place.data_dir.resolve()) if place.data_dir else None,
        }
        | dict(more or {})
    )
    try:
        _clear_abandoned(directory)
        shutil.rmtree(fresh, ignore_errors=True)  # of a process with the same number
        fresh.mkdir(parents=True)
        (fresh / "config.toml").write_text(cfg.to_toml(), encoding="utf-8")
        (fresh / "environment.json").write_text(json.dumps(about, indent=1))
        stream = {"sha256": run.tested_on.sha256} | outline(run.tested_on)
        (fresh / "stream.json").write_text(json.dumps(stream))
        if prepare is not None:
            prepare(fresh)
        os.replace(fresh, directory)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise HypermnesiaError(
            f"cannot create the run directory {directory}: {error.strerror or error}"
        ) from error


def _clear_abandoned(directory: Path) -> None:
    """Remove what processes that were killed while they created `directory` have left beside it."""
    for part in directory.parent.glob(f".{directory.name}.[0-9]*.part"):
        try:
            os.kill(int(part.name.split(".")[-2]), 0)
        except (ProcessLookupError, OverflowError):
            shutil.rmtree(part, ignore_errors=True)
        except (PermissionError, ValueError):
            continue  # a process of another user, or no name of ours


def _check_stream(run: Fit, directory: Path) -> None:
    """Raise unless the run was begun on the same data."""
    sha256 = stream_sha256(directory)
    if sha256 != run.tested_on.sha256:
        raise Unusable(
            f"{directory} was begun on other data (stream {sha256[:8]}, now {run.tested_on.sha256[:8]}); "
            "bring them back, or give another --out"
        )


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process per run directory; the second is told who has it."""
    try:
        file = open(directory / "lock", "a+")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise HypermnesiaError(f"cannot write to {directory}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Unusable(f"{directory} is in use by process {file.read().strip() or '?'}") from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds, and does not say whose it is
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield
