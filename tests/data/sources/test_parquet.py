import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.conftest import gray_images, write_parquet

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import open_source
from hypermnesia.data.sources import parquet as module


def values(images) -> list[int]:
    """The grey value of each single-coloured image."""
    return images.x[:, 0, 0, 0].tolist()


def two_parts(folder: Path) -> Path:
    write_parquet(folder / "train-00000-of-00002.parquet", gray_images(4), [0, 1, 0, 1])
    write_parquet(folder / "train-00001-of-00002.parquet", gray_images(2, start=4), [1, 0])
    write_parquet(folder / "test-00000-of-00001.parquet", gray_images(2, start=9), [1, 0])
    return folder


def test_files_are_read_in_their_order(tmp_path: Path):
    source = open_source(f"parquet:{two_parts(tmp_path)}")
    assert values(source.train) == [0, 1, 2, 3, 4, 5]
    assert source.train.y.tolist() == [0, 1, 0, 1, 1, 0]
    assert (values(source.test), source.test.y.tolist()) == ([9, 10], [1, 0])
    assert source.class_names == ("0", "1")


def test_known_data_sets_lie_in_the_data_directory(tmp_path: Path):
    two_parts(tmp_path / "mnist")
    source = open_source("mnist", data_dir=tmp_path)
    assert (source.name, len(source.train)) == ("mnist", 6)


def test_size_scales_the_images(tmp_path: Path):
    assert open_source(f"parquet:{two_parts(tmp_path)}", size=7).shape == (1, 7, 7)


def test_validation_files_serve_where_there_are_no_test_files(tmp_path: Path):
    write_parquet(tmp_path / "train.parquet", gray_images(2), [0, 1])
    write_parquet(tmp_path / "valid.parquet", gray_images(2, start=5), [0, 1])
    assert values(open_source(f"parquet:{tmp_path}").test) == [5, 6]


def test_a_fifth_of_each_class_is_the_test_part_of_a_single_file(tmp_path: Path):
    path = write_parquet(tmp_path / "all.parquet", gray_images(30), [0] * 20 + [1] * 10)
    first, second = (open_source(f"parquet:{p}") for p in (path, tmp_path))
    assert first.test.y.tolist() == [0] * 4 + [1] * 2
    assert sorted([*values(first.train), *values(first.test)]) == list(range(30))
    assert first.sha256 == second.sha256


def test_gaps_between_labels_close_and_names_stay(tmp_path: Path):
    features = {"label": {"names": [f"n{i}" for i in range(9)]}}
    for part in ("train", "test"):
        path = write_parquet(tmp_path / f"{part}.parquet", gray_images(3), [8, 2, 5])
        info = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        pq.write_table(pq.read_table(path).replace_schema_metadata(info), path)
    source = open_source(f"parquet:{tmp_path}")
    assert source.train.y.tolist() == [2, 0, 1]
    assert source.class_names == ("n2", "n5", "n8")


@pytest.mark.parametrize(
    "metadata", [b"{", b"[" * 10**5, b"[]", b'{"info": {"features": {"label": {"names": 3}}}}']
)
def test_odd_metadata_name_no_classes(tmp_path: Path, metadata: bytes):
    path = write_parquet(tmp_path / "train.parquet", gray_images(6), [1, 4] * 3)
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"huggingface": metadata}), path)
    assert open_source(f"parquet:{path}").class_names == ("1", "4")


def test_labels_may_be_strings(tmp_path: Path):
    write_parquet(tmp_path / "train.parquet", gray_images(4), ["dog", "cat", "dog", "cat"])
    write_parquet(tmp_path / "test.parquet", gray_images(2), ["cat", "dog"])
    source = open_source(f"parquet:{tmp_path}")
    assert source.class_names == ("cat", "dog")
    assert (source.train.y.tolist(), source.test.y.tolist()) == ([1, 0, 1, 0], [0, 1])


@pytest.mark.parametrize("columns", [("img", "fine_label"), ("image", "target")])
def test_columns_may_have_other_names(tmp_path: Path, columns: tuple[str, str]):
    path = write_parquet(tmp_path / "train.parquet", gray_images(6), [0, 1] * 3, columns)
    assert len(open_source(f"parquet:{path}").train) == 4


def test_images_may_be_plain_binary(tmp_path: Path):
    table = pa.table({"image": gray_images(6), "label": [0, 1] * 3})
    pq.write_table(table, tmp_path / "train.parquet")
    assert len(open_source(f"parquet:{tmp_path}").train) == 4


@pytest.mark.parametrize(
    ("images", "labels", "columns", "text"),
    [
        ([], pa.array([], pa.int64()), None, "there are no training samples"),
        (4, [0, 0, 0, 0], None, "has one class only (0)"),
        (4, [0, 1, -1, 1], None, "train.parquet, row 2: the label is -1; expected a class id from 0 on"),
        (
            4,
            pa.array([0, 1, 2**63, 1], pa.uint64()),
            None,
            "train.parquet, row 2: the label is 9223372036854775808",
        ),
        (4, [0, 1, None, 1], None, "train.parquet, row 2: the label is missing"),
        (4, [0.5, 1.5, 0.5, 1.5], None, "column 'label' is double; expected integer class ids or strings"),
        (4, [0, 1, 0, 1], ("picture_of", "label"), "no image column; expected one named image or img"),
        (4, [0, 1, 0, 1], ("image", "y"), "no label column; expected one named label or fine_label"),
        (4, [0, 1, 0, 1], ("image", "y"), "found image (struct<bytes: binary, path: string>), y (int64)"),
        (
            4,
            [0, 1, 0, 7],
            None,
            "class '1' has one sample only; where no test part is given each class needs two or more",
        ),
    ],
)
def test_bad_tables(tmp_path: Path, images, labels, columns, text: str):
    data = images if isinstance(images, list) else gray_images(images)
    write_parquet(tmp_path / "train.parquet", data, labels, columns or ("image", "label"))
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        open_source(f"parquet:{tmp_path}")


def test_images_of_another_type(tmp_path: Path):
    pq.write_table(pa.table({"image": [[1, 2], [3]], "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(
        HypermnesiaError, match="column 'image' is list<.*>; expected encoded images, binary or struct"
    ):
        open_source(f"parquet:{tmp_path}")


def test_images_beside_the_table_are_not_fetched(tmp_path: Path):
    write_parquet(tmp_path / "train-0.parquet", gray_images(2), [0, 1])
    write_parquet(tmp_path / "train-1.parquet", [*gray_images(1), None], [0, 1])
    with pytest.raises(HypermnesiaError, match=r"train-1.parquet, row 1: the image has no bytes"):
        open_source(f"parquet:{tmp_path}")


def test_a_damaged_image_is_named_by_file_and_row(tmp_path: Path):
    write_parquet(tmp_path / "train-0.parquet", gray_images(2), [0, 1])
    write_parquet(tmp_path / "train-1.parquet", gray_images(2), [0, 1])
    write_parquet(tmp_path / "test.parquet", [*gray_images(1), gray_images(1)[0][:43]], [0, 1])
    with pytest.raises(HypermnesiaError, match=r"test.parquet, row 1: the image cannot be read"):
        open_source(f"parquet:{tmp_path}")


def test_a_class_of_the_test_part_that_train_has_not(tmp_path: Path):
    write_parquet(tmp_path / "train.parquet", gray_images(2), [0, 1])
    write_parquet(tmp_path / "test.parquet", gray_images(3), [0, 1, 2])
    with pytest.raises(HypermnesiaError, match=r"test.parquet, row 2: class 2 is in test but not in train"):
        open_source(f"parquet:{tmp_path}")


def test_more_labels_than_names(tmp_path: Path):
    path = write_parquet(tmp_path / "train.parquet", gray_images(4), [0, 3] * 2)
    info = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": ["a", "b"]}}}}).encode()}
    pq.write_table(pq.read_table(path).replace_schema_metadata(info), path)
    with pytest.raises(
        HypermnesiaError, match=re.escape("label 3 has no name; the data name 2 classes, 0..1")
    ):
        open_source(f"parquet:{tmp_path}")


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_truncated_files(tmp_path: Path, kept: int):
    path = write_parquet(tmp_path / "train.parquet", gray_images(4), [0, 1, 0, 1])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        HypermnesiaError, match="train.parquet: cannot be read as parquet .* is the file cut short"
    ):
        open_source(f"parquet:{tmp_path}")


def test_names_and_labels_that_are_no_text(tmp_path: Path):
    path = write_parquet(tmp_path / "train.parquet", gray_images(4), ["cats", "dogs"] * 2, ("image", "label"))
    whole = path.read_bytes()
    for text in (b"label", b"cats"):
        path.write_bytes(whole.replace(text, b"\xff" * len(text)))
        with pytest.raises(HypermnesiaError, match="train.parquet: cannot be read as parquet"):
            open_source(f"parquet:{tmp_path}")


def test_files_that_disagree(tmp_path: Path):
    write_parquet(tmp_path / "train-0.parquet", gray_images(2), [0, 1])
    write_parquet(tmp_path / "train-1.parquet", gray_images(2), ["a", "b"])
    with pytest.raises(
        HypermnesiaError, match=r"train-1.parquet: its columns .* differ from .* of .*train-0.parquet"
    ):
        open_source(f"parquet:{tmp_path}")


def test_a_file_that_claims_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_parquet(tmp_path / "train.parquet", gray_images(4), [0, 1, 0, 1])
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(
        HypermnesiaError, match="train.parquet: .* bytes stand for 0.0 GiB of data or more, and at most"
    ):
        open_source(f"parquet:{tmp_path}")


def test_missing_files(tmp_path: Path):
    with pytest.raises(HypermnesiaError, match=r"no \*.parquet file in it"):
        open_source(f"parquet:{tmp_path}")
    with pytest.raises(HypermnesiaError, match="no such file or folder"):
        open_source(f"parquet:{tmp_path}/absent")
    write_parquet(tmp_path / "test.parquet", gray_images(2), [0, 1])
    with pytest.raises(
        HypermnesiaError, match=r"there is test.parquet but no train\*.parquet; found test.parquet"
    ):
        open_source(f"parquet:{tmp_path}")


def test_parts_that_disagree(tmp_path: Path):
    write_parquet(tmp_path / "train.parquet", gray_images(4), [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", gray_images(2), [0, 1], ("image", "target"))
    with pytest.raises(HypermnesiaError, match="its labels are in column 'target', those of .* in 'label'"):
        open_source(f"parquet:{tmp_path}")
    write_parquet(tmp_path / "test.parquet", gray_images(2), ["0", "1"])
    with pytest.raises(
        HypermnesiaError, match="labels of train and test are int64 and string; expected strings or"
    ):
        open_source(f"parquet:{tmp_path}")


def test_a_few_bytes_that_stand_for_gigabytes_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One value that every row refers to, of which the footer knows only that it is there once."""
    value = pa.array([bytes(5 * 2**20)], pa.binary())
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), value)
    path = tmp_path / "train.parquet"
    table = pa.table({"image": images, "label": pa.array([0, 1] * 500)})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 1000
    decoded = []
    read = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        for batch in read(self, *args, **options):
            decoded.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    with pytest.raises(
        HypermnesiaError, match="bytes stand for 0.3 GiB of data or more, and at most 0.25 GiB"
    ):
        open_source(f"parquet:{tmp_path}")
    assert sum(decoded) < 2 * module.FREE_BYTES


def test_columns_of_numbers_are_vectors(tmp_path: Path):
    table = pa.table({"a": [0.5, 1, 2, 3], "b": [4, 5, 6, 7], "label": ["x", "y", "x", "y"]})
    pq.write_table(table, tmp_path / "train.parquet")
    pq.write_table(table.slice(0, 2), tmp_path / "test.parquet")
    source = open_source(f"parquet:{tmp_path}")
    assert source.train.x.tolist() == [[0.5, 4], [1, 5], [2, 6], [3, 7]]
    assert source.class_names == ("x", "y")
