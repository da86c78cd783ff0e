"""The calls by which a run touches the disk: counted, made to fail, or written down to be played back to a power cut.

Python's own file functions are replaced where the package uses them; nothing in the package knows of it.
"""

import builtins
import contextlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from hypermnesia.core import files
from hypermnesia.training import events

OPENERS = (files, events)
"""The modules whose `open` writes run directories."""
_DEAD = 2**31
"""The number of no process."""
CALLS = ("fsync", "replace", "mkdir", "unlink", "truncate", "rmdir")
"""What they call of `os`; `open` and a file's `write` are counted, too."""


class Failing:
    """Lets `left` calls that touch the disk pass and fails the next one, once."""

    def __init__(self, left: int, number: int) -> None:
        self.left, self.number = left, number
        self.what = ""
        """The call that failed."""

    def before(self, what: str) -> None:
        self.left -= 1
        if self.left == -1:
            self.what = what
            raise OSError(self.number, os.strerror(self.number))


class _Watched:
    """A file that tells before it is written to."""

    def __init__(self, file: IO[Any], before: Callable[[str], None]) -> None:
        self._file, self._before = file, before

    def write(self, content: Any) -> int:
        self._before("write")
        return self._file.write(content)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def told(before: Callable[[str], None]) -> Iterator[None]:
    """Within the block `before` hears of every call that touches the disk, by its name, before it is done."""
    originals = {name: getattr(os, name) for name in CALLS}

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before(name)
            return originals[name](*args, **kwargs)

        return call

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode[0] not in "wa":
            return builtins.open(path, mode, *args, **kwargs)
        before("open")
        return _Watched(builtins.open(path, mode, *args, **kwargs), before)

    for name in CALLS:
        setattr(os, name, wrapped(name))
    for module in OPENERS:
        module.open = opened  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for name, call in originals.items():
            setattr(os, name, call)
        for module in OPENERS:
            del module.open  # pyright: ignore[reportAttributeAccessIssue]


# ----------------------------------------------------------------------------------------------------- power cuts


@dataclass
class Disk:
    """Everything that a run did to the disk below `root`, in order, and what of it a power cut may take back.

    A file's content lasts as it was when it was last synced, a name once its directory has been synced after it was
    made, renamed or removed. What was not synced is there or not, as chance has it; of a directory's names, those that
    were changed first; content that was not synced is whole, empty, or zeros.
    """

    root: Path
    deeds: list[tuple[str, Any, Any]] = field(default_factory=list)

    def _inside(self, path: Any) -> Path | None:
        path = Path(os.path.abspath(path))
        return path if path.is_relative_to(self.root) else None

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Write down what is done within the block."""
        originals = {name: getattr(os, name) for name in ("fsync", "replace", "mkdir", "unlink", "rmdir")}

        def fsync(descriptor: int) -> None:
            originals["fsync"](descriptor)
            path = self._inside(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path is not None:
                self.deeds.append(("sync", path, None if path.is_dir() else path.read_bytes()))

        def replace(source: Any, target: Any) -> None:
            originals["replace"](source, target)
            if (path := self._inside(target)) is not None:
                self.deeds.append(("rename", self._inside(source), path))

        def noted(name: str) -> Callable[..., None]:
            def call(path: Any, *args: Any, **kwargs: Any) -> None:
                originals[name](path, *args, **kwargs)
                if (inside := self._inside(path)) is not None:
                    self.deeds.append(({"rmdir": "unlink"}.get(name, name), inside, None))

            return call

        def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            fresh = not os.path.exists(path)
            file = builtins.open(path, mode, *args, **kwargs)
            if mode[0] not in "wa" or (inside := self._inside(path)) is None:
                return file
            if fresh:
                self.deeds.append(("create", inside, None))
            return _Watched(file, lambda _: self.deeds.append(("write", inside, None)))

        os.fsync, os.replace = fsync, replace
        for name in ("mkdir", "unlink", "rmdir"):
            setattr(os, name, noted(name))
        for module in OPENERS:
            module.open = opened  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            for name, call in originals.items():
                setattr(os, name, call)
            for module in OPENERS:
                del module.open  # pyright: ignore[reportAttributeAccessIssue]

    def after_a_cut(self, at: int, rng: random.Random, target: Path) -> None:
        """Make `target` what may be found after a power cut once the first `at` deeds were done."""
        deeds = self.deeds[:at]
        _Image(deeds, rng).write(self.root, target)


class _Image:
    """What is left of some deeds."""

    def __init__(self, deeds: list[tuple[str, Any, Any]], rng: random.Random) -> None:
        self.rng = rng
        self.open_ended: set[int] = set()
        """Files that were written to since they were synced."""
        self.synced: dict[int, bytes] = {}
        where: dict[Path, int] = {}
        kinds: dict[int, bool] = {}
        names: dict[int, list[tuple[str, str, int | None]]] = {}
        sure: dict[int, int] = {}
        root = -1
        names[root] = []

        def parent(path: Path) -> int:
            return where.get(path.parent, root)

        def change(path: Path, how: str, what: int | None) -> None:
            names.setdefault(parent(path), []).append((path.name, how, what))

        count = 0
        for deed, path, more in deeds:
            if deed in ("create", "mkdir"):
                count += 1
                where[path], kinds[count] = count, deed == "mkdir"
                if deed == "mkdir":
                    names[count] = []
                change(path, "put", count)
            elif deed == "unlink":
                change(path, "gone", None)
                where.pop(path, None)
            elif deed == "rename":
                moved = {old: number for old, number in where.items() if old == path or path in old.parents}
                for old in moved:
                    del where[old]
                for old, number in moved.items():
                    where[more / old.relative_to(path)] = number
                change(more, "moved", where[more])
                names[parent(more)][-1] = (more.name, f"moved {path.name}", where[more])
            elif deed == "write":
                self.open_ended.add(where[path])
            elif more is None:
                sure[where.get(path, root)] = len(names[where.get(path, root)])
            else:
                self.synced[where[path]] = more
                self.open_ended.discard(where[path])
        self.names, self.sure, self.kinds, self.root = names, sure, kinds, root

    def write(self, source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        self._fill(self.root, target)

    def _fill(self, directory: int, target: Path) -> None:
        changes = self.names.get(directory, [])
        kept = self.rng.choice([self.sure.get(directory, 0), len(changes)])
        if self.rng.random() < 0.5:
            kept = self.rng.randint(self.sure.get(directory, 0), len(changes))
        entries: dict[str, int] = {}
        for name, how, what in changes[:kept]:
            if how == "gone":
                entries.pop(name, None)
            elif what is not None:
                if how.startswith("moved "):
                    entries.pop(how.removeprefix("moved "), None)
                entries[name] = what
        for name, what in entries.items():
            name = name.replace(f".{os.getpid()}-", f".{_DEAD}-")  # who was writing is not there any more
            if self.kinds[what]:
                (target / name).mkdir()
                self._fill(what, target / name)
            else:
                (target / name).write_bytes(self._content(what))

    def _content(self, what: int) -> bytes:
        """What was synced; of a log that grows, also with a tail that was not."""
        known = self.synced.get(what)
        if known is None:
            return self.rng.choice([b"", bytes(50)])
        tails = [b"", bytes(30), b'{"time":1,"ev'] if what in self.open_ended else [b""]
        return known + self.rng.choice(tails)
