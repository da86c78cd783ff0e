"""What a checkpoint belongs to, written into it, and whether it may go on in the directory where it lies."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.runs.directory import environment_of, saved_config, stray_seeds, stream_sha256
from hypermnesia.runs.environment import versions
from hypermnesia.training.checkpoint import CheckpointError

FILES = ("config.toml", "environment.json", "stream.json")
KEY = "run"
"""Where it stands in what is saved beside a checkpoint's state."""


def binding(directory: Path) -> dict[str, Any]:
    """What the checkpoints of the run in `directory` are bound to: its identity, its files, the versions that made it."""
    cfg, about = saved_config(directory), environment_of(directory)
    return {
        "of": {
            "configuration": cfg.sha256,
            "seed": about["seed"],
            "other seeds": stray_seeds(cfg),
            "data": stream_sha256(directory),
            "validation parts only": bool(about.get("sealed")),
            "earlier run": about.get("continues"),
            "stream.json": _sha256(directory / "stream.json"),
        },
        "files": {name: _sha256(directory / name) for name in FILES},
        "versions": versions(),
    }


def check(directory: Path, report: Callable[[str], None]) -> Callable[[Path, Mapping[str, Any]], None]:
    """What raises `CheckpointError` for a checkpoint (its path, and what was saved beside its state) of another run.

    Where only versions differ, or only what decides no result, `report` hears of it, once. Checkpoints of version 0.1 are
    bound to nothing.
    """
    own = json.loads(json.dumps(binding(directory)))
    told: set[str] = set()

    def checked(path: Path, extra: Mapping[str, Any]) -> None:
        saved = extra.get(KEY)
        if saved is None:
            return
        for text in _differences(path, saved, own):
            if text not in told:
                told.add(text)
                report(text)

    return checked


def _differences(path: Path, saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What is other than when the checkpoint was written, and may be; raises `CheckpointError` for the rest."""
    told = []
    changed = [name for name in FILES if saved["files"].get(name) != own["files"][name]]
    if changed:
        for what, value in own["of"].items():
            if saved["of"].get(what) != value:
                raise CheckpointError(_another(path, what, saved["of"].get(what), value))
        told.append(
            f"{', '.join(changed)} changed since the checkpoint was written, in nothing that decides results"
        )
    others = [
        f"{name} {saved['versions'].get(name)} (now {version})"
        for name, version in own["versions"].items()
        if saved["versions"].get(name) != version
    ]
    if others:
        told.append(
            f"the checkpoint was made with {', '.join(others)}: the run goes on, and may round differently"
        )
    return told


def _another(path: Path, what: str, saved: Any, value: Any) -> str:
    return (
        f"{path} belongs to another run than the files beside it: {what} {_short(saved)}, not {_short(value)}; bring "
        "back the files or the checkpoints that belong together"
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:8]}…"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise HypermnesiaError(f"{path} cannot be read: {error.strerror or error}") from error
