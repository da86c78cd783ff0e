import logging
from pathlib import Path

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Source
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


def test_fingerprints_change_with_name_size_and_time(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    first = fingerprint([path], tmp_path)
    assert first == fingerprint([path], tmp_path)
    assert first[0][:2] == ("a", 2)
    path.write_bytes(b"123")
    assert fingerprint([path], tmp_path) != first
