"""Decoded sources on disk, so that an image is decoded once and not once a run."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import PIL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.waiting import counted
from hypermnesia.data.sources.source import Images, Source

FORMAT = "2"
_WRITING = ".writing-"
_SAMPLED, _BYTES = 64, 2**14
log = logging.getLogger(__name__)


def directory() -> Path:
    """`$HYPERMNESIA_CACHE`, else `~/.cache/hypermnesia`."""
    named = os.environ.get("HYPERMNESIA_CACHE")
    try:
        return Path(named) if named else Path.home() / ".cache" / "hypermnesia"
    except RuntimeError as error:
        raise HypermnesiaError(
            "there is no home directory for decoded data; set HYPERMNESIA_CACHE to a directory, or HOME"
        ) from error


def fingerprint(files: Sequence[Path], root: Path | None) -> dict[str, Any]:
    """What tells these files from any others: where they lie, what the file system knows of each, and some bytes.

    A file that is overwritten gets another time of change (`st_ctime`, which nobody can set), and one that takes its place
    another inode as well. The bytes are the beginning and the end of about `_SAMPLED` of the files, evenly spaced. `root`:
    where the files lie, however it is written. Raises `HypermnesiaError` for a file that cannot be read.
    """
    listed, sample = hashlib.sha256(), hashlib.sha256()
    spacing = max(1, len(files) // _SAMPLED)
    for i, file in enumerate(counted(files, "looking at files")):
        name = file.relative_to(root) if root and file.is_relative_to(root) else file.resolve()
        try:
            s = file.stat()
            listed.update(
                json.dumps([str(name), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev]).encode()
            )
            if i % spacing == 0:
                with file.open("rb") as opened:
                    sample.update(opened.read(_BYTES))
                    opened.seek(max(opened.tell(), s.st_size - _BYTES))
                    sample.update(opened.read(_BYTES))
        except OSError as error:
            raise HypermnesiaError(f"{file}: cannot be read: {error.strerror or error}") from error
    place = "" if root is None else str(root.resolve())
    return {"root": place, "files": len(files), "listed": listed.hexdigest(), "bytes": sample.hexdigest()}


def cached(name: str, key: dict[str, Any], build: Callable[[], Source]) -> Source:
    """`build()`, or what it returned when it was called with this `key` before.

    A cache file holds the source's tensors and the SHA-256 of its content, which is verified whenever it is
    read. A damaged file is built anew and replaced, with a warning; where nothing can be written, every call
    builds, and one warning says so.
    """
    _sweep(directory())
    identity = json.dumps([FORMAT, PIL.__version__, name, key], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    title = re.sub(r"[^A-Za-z0-9-]+", "-", name.partition(":")[0])
    path = directory() / f"{title}-{digest}.safetensors"
    if path.exists():
        try:
            return _read(path, name)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, HypermnesiaError) as error:
            log.warning("the cache file %s is damaged (%s) and is made again", path, error)
    source = build()
    try:
        _write(path, source)
    except (SafetensorError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _warn_once(str(path.parent), reason)
    return source


def _read(path: Path, name: str) -> Source:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in ("train.x", "train.y", "test.x", "test.y")}
    source = Source(
        name,
        Images(tensors["train.x"], tensors["train.y"]),
        Images(tensors["test.x"], tensors["test.y"]),
        tuple(json.loads(metadata["class_names"])),
    )
    if source.sha256 != metadata["sha256"]:
        raise ValueError("its content does not match its checksum")
    return source


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed have left: their folders are locked no longer."""
    for left in folder.glob(f"{_WRITING}*"):
        with suppress(OSError):  # gone meanwhile, not ours, in use, or on a file system without locks
            handle = os.open(left, os.O_RDONLY)
            try:
                flock(handle, LOCK_EX | LOCK_NB)
                left.unlink() if left.is_file() else rmtree(left)
            finally:
                os.close(handle)


def _write(path: Path, source: Source) -> None:
    """Either the whole file appears under its name, or nothing does. It is written in a locked folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = Path(mkdtemp(dir=path.parent, prefix=_WRITING))
    handle = os.open(own, os.O_RDONLY)
    try:
        with suppress(OSError):  # no locks: then nobody removes the folder either
            flock(handle, LOCK_EX | LOCK_NB)
        temporary = own / path.name
        tensors = {
            f"{part}.{field}": getattr(images, field).contiguous()
            for part, images in (("train", source.train), ("test", source.test))
            for field in ("x", "y")
        }
        metadata = {"class_names": json.dumps(source.class_names), "sha256": source.sha256}
        save_file(tensors, temporary, metadata)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        rmtree(own, ignore_errors=True)
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@cache
def _warn_once(where: str, reason: str) -> None:
    log.warning("decoded images cannot be cached in %s (%s): they are decoded at each start", where, reason)
