import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.conftest import gray_images, write_parquet

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import open_source


class Split:
    """As much of `datasets.Dataset` as is used: an Arrow table with features and the files it lies in."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.table: pa.Table = pq.read_table(path)
        self.features = {"image": object(), "label": SimpleNamespace(names=names)}
        self.cache_files = [{"filename": str(path)}]

    def with_format(self, kind: str) -> "Split":
        assert kind == "arrow"
        return self

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table[rows]


def install(monkeypatch: pytest.MonkeyPatch, load: Any) -> list[str]:
    asked: list[str] = []

    def load_dataset(repository: str) -> Any:
        asked.append(repository)
        return load()

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return asked


def splits(folder: Path, *parts: str) -> dict[str, Split]:
    return {
        part: Split(write_parquet(folder / f"{part}.arrow", gray_images(4), [0, 1, 1, 0]), ["cat", "dog"])
        for part in parts
    }


def test_a_repository_is_read_with_the_names_of_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = install(monkeypatch, lambda: splits(tmp_path, "train", "test", "extra"))
    source = open_source("hub:someone/pets")
    assert asked == ["someone/pets"]
    assert source.class_names == ("cat", "dog")
    assert source.train.y.tolist() == [0, 1, 1, 0]
    assert source.test.x[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_known_data_sets_are_fetched_where_no_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = install(monkeypatch, lambda: splits(tmp_path, "train", "validation"))
    assert len(open_source("tiny-imagenet", data_dir=tmp_path).test) == 4
    assert asked == ["zh-plus/tiny-imagenet"]


def test_without_a_test_split_one_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, lambda: splits(tmp_path, "train"))
    assert sorted(open_source("hub:someone/pets").test.y.tolist()) == [0, 1]


def test_without_a_train_split_nothing_can_be_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, lambda: splits(tmp_path, "test", "extra"))
    with pytest.raises(HypermnesiaError, match="someone/pets has no split 'train'; it has test, extra"):
        open_source("hub:someone/pets")


def test_the_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(HypermnesiaError) as error:
        open_source("mnist", data_dir=tmp_path)
    assert str(error.value) == (
        f"mnist: there is no {tmp_path}/mnist/*.parquet, and the package 'datasets', which "
        "reads ylecun/mnist from the Hugging Face hub, is not installed; install it with: "
        "pip install 'hypermnesia[hub]'"
    )
    with pytest.raises(
        HypermnesiaError, match=r"no data directory was given \(--data-dir\), and the package"
    ):
        open_source("mnist")


def test_the_hub_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    def load() -> None:
        raise ConnectionError("no route to host")

    install(monkeypatch, load)
    with pytest.raises(
        HypermnesiaError, match=r"gave no data set 'a/b' \(ConnectionError: no route to host\)"
    ):
        open_source("hub:a/b")
