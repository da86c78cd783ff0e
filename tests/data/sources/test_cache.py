import fcntl
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from data.conftest import gray_images, write_parquet
from safetensors.torch import save_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Source, open_source
from hypermnesia.data.sources import cache
from hypermnesia.data.sources.cache import cached, directory, fingerprint


class Builder:
    """Builds a source and counts how often."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.calls = 0

    def __call__(self) -> Source:
        self.calls += 1
        return self.source


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERMNESIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def builder(make_source) -> Builder:
    return Builder(make_source())


def test_built_once_and_equal_when_read(folder: Path, builder: Builder):
    built = cached("some:thing", {"size": 1}, builder)
    read = cached("some:thing", {"size": 1}, builder)
    assert builder.calls == 1
    for part in ("train", "test"):
        assert torch.equal(getattr(read, part).x, getattr(built, part).x)
        assert torch.equal(getattr(read, part).y, getattr(built, part).y)
    assert (read.name, read.class_names) == ("some:thing", built.class_names)
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_what_is_read_stays_in_the_file(folder: Path, builder: Builder):
    """So a source may be larger than memory: pages come as batches ask for them."""
    cached("a", {}, builder)
    read = cached("a", {}, builder)
    (path,) = folder.iterdir()
    edges = [
        [int(edge, 16) for edge in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    assert any(start <= read.train.x.data_ptr() < stop for start, stop in edges)


def test_another_key_is_another_file(folder: Path, builder: Builder):
    cached("a", {"size": 1}, builder)
    cached("a", {"size": 2}, builder)
    cached("b", {"size": 1}, builder)
    assert builder.calls == 3
    assert len(list(folder.iterdir())) == 3


def test_every_kind_of_damage_is_found_and_mended(
    folder: Path, builder: Builder, caplog: pytest.LogCaptureFixture
):
    cached("a", {}, builder)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    places = [*range(0, len(whole), 97), 0, 8, len(whole) - 1]
    damages = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places]
    for damaged in (b"", whole[:5], whole[:-1], *damages):
        path.write_bytes(damaged)
        caplog.clear()
        builder.calls = 0
        source = cached("a", {}, builder)
        assert torch.equal(source.train.x, builder.source.train.x)
        assert source.class_names == builder.source.class_names
        assert builder.calls == 1
        assert f"the cache file {path} is damaged" in caplog.text
        cached("a", {}, builder)
        assert builder.calls == 1


def test_where_nothing_can_be_written_every_call_builds_and_one_warns(
    tmp_path: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HYPERMNESIA_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        cached("a", {}, builder)
        cached("a", {}, builder)
    assert builder.calls == 2
    assert caplog.text.count("decoded images cannot be cached in") == 1


def test_a_failed_write_leaves_nothing(folder: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hypermnesia.data.sources.cache.save_file", full)
    assert cached("a", {}, builder) is builder.source
    assert list(folder.iterdir()) == []


def test_errors_of_the_builder_pass_and_leave_nothing(folder: Path):
    def fail() -> Source:
        raise HypermnesiaError("bad data")

    with pytest.raises(HypermnesiaError, match="bad data"):
        cached("a", {}, fail)
    assert not folder.exists()


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HYPERMNESIA_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert directory() == Path("/home/someone/.cache/hypermnesia")


def test_fingerprints_tell_files_that_look_alike(tmp_path: Path):
    """Same name, same size, same time of modification: another root, other bytes, another file in its place."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_bytes(b"12")
        os.utime(tmp_path / folder / "a", ns=(0, 0))
    one, two = ([tmp_path / folder / "a"] for folder in ("one", "two"))
    first = fingerprint(one, tmp_path / "one")
    other_words = tmp_path / "two" / ".." / "one"
    assert first == fingerprint([other_words / "a"], other_words)
    assert first != fingerprint(two, tmp_path / "two")
    one[0].write_bytes(b"34")
    os.utime(one[0], ns=(0, 0))
    second = fingerprint(one, tmp_path / "one")
    assert second["listed"] != first["listed"] and second["bytes"] != first["bytes"]
    two[0].replace(one[0])
    assert fingerprint(one, tmp_path / "one")["listed"] not in (first["listed"], second["listed"])


def test_the_same_words_elsewhere_are_other_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for start, place in ((0, "here"), (100, "there")):
        write_parquet(
            tmp_path / place / "pictures" / "train.parquet", gray_images(4, start=start), [0, 1, 0, 1]
        )
        os.utime(tmp_path / place / "pictures" / "train.parquet", ns=(0, 0))
    found = []
    for place in ("here", "there"):
        monkeypatch.chdir(tmp_path / place)
        source = open_source("parquet:pictures")
        found.append(sorted([*source.train.x[:, 0, 0, 0].tolist(), *source.test.x[:, 0, 0, 0].tolist()]))
    assert found == [[0, 1, 2, 3], [100, 101, 102, 103]]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(HypermnesiaError, match="gone: cannot be read: No such file"):
        fingerprint([tmp_path / "gone"], tmp_path)


def test_what_killed_writers_left_is_removed_and_what_others_write_stays(folder: Path, builder: Builder):
    folder.mkdir()
    (folder / ".writing-old").write_bytes(b"half")
    for name in (".writing-killed", ".writing-busy"):
        (folder / name).mkdir()
        (folder / name / "a.safetensors").write_bytes(b"half")
    busy = os.open(folder / ".writing-busy", os.O_RDONLY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    cached("a", {}, builder)
    os.close(busy)
    assert sorted(path.name for path in folder.glob(".*")) == [".writing-busy"]


def test_a_file_is_locked_while_it_is_written(
    folder: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch
):
    seen: list[bool] = []

    def watched(tensors: Any, path: str, metadata: Any) -> None:
        save_file(tensors, path, metadata)
        cache._sweep(folder)
        seen.append(Path(path).exists())

    monkeypatch.setattr("hypermnesia.data.sources.cache.save_file", watched)
    cached("a", {}, builder)
    assert seen == [True]
