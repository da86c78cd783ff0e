"""Files replaced: whole or not at all, by many at once."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hypermnesia.core import files
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import clear_abandoned, make_directory, replace_file, temporary_beside
from hypermnesia.data.sources import cache


def test_many_at_once_leave_one_of_their_contents(tmp_path: Path) -> None:
    contents = [bytes([i]) * 10_000 for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: replace_file(tmp_path / "x", content), contents))
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() in contents


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "x", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "x", b"new")
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"old"


def test_what_killed_processes_have_left_goes_and_what_living_ones_write_stays(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from hypermnesia.core.files import temporary_beside as t; "
    make = code + "p = t(Path(sys.argv[1])); p.write_bytes(b''); t(Path(sys.argv[1])).mkdir()"
    subprocess.run([sys.executable, "-c", make, str(tmp_path / "x")], check=True)
    ours = temporary_beside(tmp_path / "x")
    elsewhere = tmp_path / ".x.elsewhere.1-0.part"
    for kept in (ours, elsewhere):
        kept.write_bytes(b"")
    assert len(os.listdir(tmp_path)) == 4
    clear_abandoned(tmp_path / "x")
    assert sorted(tmp_path.iterdir()) == sorted([ours, elsewhere])


def test_every_directory_that_is_made_is_synced_in_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    make_directory(tmp_path / "a" / "b")
    assert set(synced) == {tmp_path, tmp_path / "a"}


def test_homes_that_are_not_there_are_told():
    with pytest.raises(
        HypermnesiaError, match="~nosuchuser/x: there is no such home directory; write the path in full"
    ):
        files.expanded("~nosuchuser/x")
    assert files.expanded("a/~b") == Path("a/~b")


def test_no_home_for_decoded_data_is_told(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HYPERMNESIA_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(HypermnesiaError, match="there is no home directory .*; set HYPERMNESIA_CACHE"):
        cache.directory()
