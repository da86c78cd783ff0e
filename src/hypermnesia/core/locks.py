"""One process at a time in a directory.

The directory itself is locked, so that no file has to be there for it, none can be deleted to undo it, and the lock is
gone with the process however that ends. The file `lock` within names the holder and goes away with the lock. Where a
file system knows no such locks, that file alone is the guard.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import alive

LOCK_FILE = "lock"
_REFUSED = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What `flock` answers where there are no locks, or none on directories (Lustre, NFS)."""


class InUse(HypermnesiaError):
    """A directory that another process has."""


@contextlib.contextmanager
def locked(directory: Path, report: Callable[[str], None], patience: float = 0.0) -> Iterator[None]:
    """Have `directory` alone within the block. Raises `InUse`, which names who has it, after `patience` seconds.

    `report` hears where the file system has no locks.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise HypermnesiaError(f"{directory} cannot be opened: {error.strerror or error}") from error
    try:
        by_file = _take(descriptor, directory, report, time.monotonic() + patience)
        if not by_file:
            _note(directory)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a disk that may only be read keeps the note: it stops nobody
                (directory / LOCK_FILE).unlink()
    finally:
        os.close(descriptor)


def in_use(directory: Path) -> bool:
    """Whether a process has `directory` now."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return _holder(directory) is not None
    finally:
        os.close(descriptor)


def forget(directory: Path) -> None:
    """Remove the note of a process that is dead."""
    with contextlib.suppress(OSError):  # a disk that may only be read keeps it: it stops nobody
        if _holder(directory) is None:
            (directory / LOCK_FILE).unlink(missing_ok=True)


def _take(descriptor: int, directory: Path, report: Callable[[str], None], deadline: float) -> bool:
    """Wait for the lock; whether the file is the guard because there are no locks."""
    told = False
    while True:
        try:
            if told:
                _take_file(directory)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return told
        except (BlockingIOError, FileExistsError) as error:
            if time.monotonic() >= deadline:
                raise InUse(_taken(directory, told)) from error
            time.sleep(0.02)
        except OSError as error:
            if told or error.errno not in _REFUSED:
                raise HypermnesiaError(f"{directory}: no lock: {error.strerror or error}") from error
            told = True
            report(
                f"this file system has no locks ({error.strerror}), so the file {LOCK_FILE} is the guard: start no "
                "second process on another machine while this one runs"
            )


def _take_file(directory: Path) -> None:
    """Make the file with our name; raises `FileExistsError` where a process has it that may be alive."""
    path = directory / LOCK_FILE
    if path.exists() and _holder(directory) is None:
        path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, _us())
    finally:
        os.close(descriptor)


def _us() -> bytes:
    return json.dumps({"process": os.getpid(), "machine": socket.gethostname()}).encode()


def _note(directory: Path) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock holds, and does not say whose it is
        (directory / LOCK_FILE).write_bytes(_us())


def _holder(directory: Path) -> str | None:
    """Who has the directory as the file tells it; None if nobody, or a process of this machine that is dead."""
    try:
        said = json.loads((directory / LOCK_FILE).read_bytes())
        process, machine = int(said["process"]), str(said["machine"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "process ?"
    if machine != socket.gethostname():
        return f"process {process} on {machine}"
    return f"process {process}" if alive(process) else None


def _taken(directory: Path, by_file: bool) -> str:
    who = _holder(directory) or "process ?"
    advice = f"; if that has ended, remove {directory / LOCK_FILE}" if by_file else ""
    return f"{directory} is in use by {who}{advice}"
