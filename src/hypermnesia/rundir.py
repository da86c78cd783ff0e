"""What a run directory holds, read back and checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypermnesia import checkpoint
from hypermnesia.errors import HypermnesiaError
from hypermnesia.experiment import Config, from_toml
from hypermnesia.results import FORMAT
from hypermnesia.streams import Stream
from hypermnesia.streams.outline import from_outline


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
    checkpoint.replace_file(path, json.dumps(value, indent=1, allow_nan=False).encode())
