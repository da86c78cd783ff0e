"""Files that are seen whole or not at all, at any moment and after a power cut; one process's place in a directory.

A new name lasts once its directory has been synced, its content once the file has been. Whatever writes here does both.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError

_COUNT = itertools.count()
_TEMPORARY = re.compile(r"(\d+)-\d+\.part")


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file: at any moment, and after a power cut, it is the old one or the new one."""
    clear_abandoned(path)
    temporary = temporary_beside(path)
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)
    return path


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Replace a file by `value` as JSON."""
    return replace_file(path, json.dumps(value, indent=1, allow_nan=False).encode())


def write_synced(path: Path, content: bytes) -> None:
    """Write a file in a place that nobody reads yet. Its name lasts once the directory is synced, too."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory and those above it that are not there, so that they last."""
    missing = list(itertools.takewhile(lambda d: not d.exists(), [directory, *directory.parents]))
    directory.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def entries(directory: Path) -> list[Path]:
    """What a directory holds, sorted; nothing if it is not there. One that may not be read is an `OSError`, and not empty."""
    try:
        return [directory / name for name in sorted(os.listdir(directory))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def with_suffix(directory: Path, suffix: str) -> list[Path]:
    """The files in a directory whose names end so, sorted; none if it is not there."""
    return [path for path in entries(directory) if path.name.endswith(suffix) and path.is_file()]


def _raised(error: OSError) -> None:
    raise error


def files_below(directory: Path, closed: Callable[[OSError], None] = _raised) -> Iterator[Path]:
    """Every file in a directory and in those below it. `closed` hears of what may not be read; by default it is raised."""

    def there(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            closed(error)

    for name, _, files in os.walk(directory, onerror=there):
        yield from (Path(name, file) for file in files)


def expanded(path: str | Path) -> Path:
    """`path` with `~` and `~NAME` as home directories; an error where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise HypermnesiaError(f"{path}: there is no such home directory; write the path in full") from error


def temporary_beside(path: Path) -> Path:
    """A name for what will be renamed to `path`, which no other process, thread or machine takes."""
    return path.with_name(f"{_prefix(path)}{os.getpid()}-{next(_COUNT)}.part")


def _prefix(path: Path) -> str:
    return f".{path.name}.{socket.gethostname()}."


def clear_abandoned(path: Path, alone: bool = False) -> None:
    """Remove the temporary files and directories beside `path` of processes of this machine that have been killed.

    `alone`: nobody else may be writing there, so all of them go.
    """
    prefix = f".{path.name}." if alone else _prefix(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(path.parent):
            if not (name.startswith(prefix) and name.endswith(".part")):
                continue
            found = _TEMPORARY.fullmatch(name.removeprefix(prefix))
            if alone or (found and not alive(int(found[1]))):
                _remove(path.with_name(name))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def alive(process: int) -> bool:
    """Whether this machine runs a process with this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return True
