"""One process at a time in a directory, with and without the file system's locks."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hypermnesia.core.locks import LOCK_FILE, InUse, forget, in_use, locked


def quiet(text: str) -> None:
    raise AssertionError(text)


def test_the_second_is_told_of_the_first_and_nothing_stays(tmp_path: Path) -> None:
    with locked(tmp_path, quiet):
        assert in_use(tmp_path)
        with pytest.raises(InUse, match=f"is in use by process {os.getpid()}$"), locked(tmp_path, quiet):
            pass
    assert list(tmp_path.iterdir()) == [] and not in_use(tmp_path)


def test_whoever_waits_gets_it_when_the_holder_has_been_killed(tmp_path: Path) -> None:
    hold = "import sys, time; from pathlib import Path; from hypermnesia.core.locks import locked\n" + (
        "with locked(Path(sys.argv[1]), print):\n print('held', flush=True)\n time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(InUse, match=f"in use by process {holder.pid}"), locked(tmp_path, quiet):
        pass
    holder.kill()
    with locked(tmp_path, quiet, patience=10):
        assert json.loads((tmp_path / LOCK_FILE).read_bytes())["process"] == os.getpid()
    holder.wait()
    holder.stdout.close()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_file_is_the_guard_and_that_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    with locked(tmp_path, said.append):
        assert in_use(tmp_path) and len(said) == 1 and "this file system has no locks (No locks av" in said[0]
        with pytest.raises(InUse, match="if that has ended, remove .*lock"), locked(tmp_path, said.append):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_file_of_a_dead_process_stops_nobody(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for machine, free in ((socket.gethostname(), True), ("elsewhere", False)):
        (tmp_path / LOCK_FILE).write_text(json.dumps({"process": dead.pid, "machine": machine}))
        assert in_use(tmp_path) is not free
        if free:
            with locked(tmp_path, lambda _: None):
                pass
        else:
            with pytest.raises(InUse, match=f"process {dead.pid} on elsewhere; if that has ended, remove"):
                locked(tmp_path, lambda _: None).__enter__()


def test_the_note_of_a_dead_process_is_forgotten_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    for process, left in ((2**22 + 1, False), (os.getpid(), True)):
        (tmp_path / "lock").write_text(json.dumps({"process": process, "machine": socket.gethostname()}))
        forget(tmp_path)
        assert (tmp_path / "lock").exists() is left
