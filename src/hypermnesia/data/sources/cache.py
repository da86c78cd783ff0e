"""Decoded sources on disk, so that an image is decoded once and not once a run."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import PIL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.source import Images, Source

FORMAT = "1"
log = logging.getLogger(__name__)


def directory() -> Path:
    """`$HYPERMNESIA_CACHE`, else `~/.cache/hypermnesia`."""
    return Path(os.environ.get("HYPERMNESIA_CACHE") or Path.home() / ".cache" / "hypermnesia")


def fingerprint(files: Sequence[Path], root: Path | None) -> list[tuple[str, int, int]]:
    """Name (relative to `root` where it lies below), size and time of change of each file."""
    stats = [(file, file.stat()) for file in files]
    below = [file.relative_to(root) if root and file.is_relative_to(root) else file for file, _ in stats]
    return [(str(name), s.st_size, s.st_mtime_ns) for name, (_, s) in zip(below, stats, strict=True)]


def cached(name: str, key: dict[str, Any], build: Callable[[], Source]) -> Source:
    """`build()`, or what it returned when it was called with this `key` before.

    A cache file holds the source's tensors and the SHA-256 of its content, which is verified whenever it is
    read. A damaged file is built anew and replaced, with a warning; where nothing can be written, every call
    builds, and one warning says so.
    """
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


def _write(path: Path, source: Source) -> None:
    """Either the whole file appears under its name, or nothing does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = mkstemp(dir=path.parent, prefix=".writing-")
    try:
        os.close(handle)
        tensors = {
            f"{part}.{field}": getattr(images, field).contiguous()
            for part, images in (("train", source.train), ("test", source.test))
            for field in ("x", "y")
        }
        metadata = {"class_names": json.dumps(source.class_names), "sha256": source.sha256}
        save_file(tensors, temporary, metadata)
        _sync(Path(temporary))
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@cache
def _warn_once(where: str, reason: str) -> None:
    log.warning("decoded images cannot be cached in %s (%s): they are decoded at each start", where, reason)
