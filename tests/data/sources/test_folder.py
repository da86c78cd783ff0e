import os
import re
from pathlib import Path

import pytest
from data.conftest import gray_images

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import open_source


def fill(folder: Path, count: int, start: int = 0, side: int = 4) -> None:
    folder.mkdir(parents=True)
    for i, image in enumerate(gray_images(count, side, start)):
        (folder / f"{i:03}.png").write_bytes(image)


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path):
    fill(tmp_path / "zebra", 5)
    fill(tmp_path / "ant", 10, start=50)
    fill(tmp_path / "ant" / "deeper", 5, start=70)
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "ant" / ".hidden.png").write_text("not an image")
    (tmp_path / ".git").mkdir()
    source = open_source(f"folder:{tmp_path}")
    assert source.class_names == ("ant", "zebra")
    assert source.train.y.tolist() == [0] * 12 + [1] * 4
    assert source.test.y.tolist() == [0] * 3 + [1]
    values = [*source.train.x[:, 0, 0, 0].tolist(), *source.test.x[:, 0, 0, 0].tolist()]
    assert sorted(values) == [*range(5), *range(50, 60), *range(70, 75)]


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_folders(tmp_path: Path, test: str):
    for part, start in (("train", 0), (test, 100)):
        fill(tmp_path / part / "a", 3, start)
        fill(tmp_path / part / "b", 2, start + 10)
    source = open_source(f"folder:{tmp_path}")
    assert source.train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11]
    assert source.test.x[:, 0, 0, 0].tolist() == [100, 101, 102, 110, 111]


def test_mixed_sizes_are_brought_to_one(tmp_path: Path):
    fill(tmp_path / "a", 3)
    fill(tmp_path / "b", 3, side=9)
    assert open_source(f"folder:{tmp_path}", size=6).shape == (1, 6, 6)
    with pytest.raises(
        HypermnesiaError, match=r"images differ in size: .*a/000.png has 4×4 .*b/000.png has 9×9"
    ):
        open_source(f"folder:{tmp_path}")


def test_a_damaged_file_is_named(tmp_path: Path):
    fill(tmp_path / "a", 3)
    fill(tmp_path / "b", 3)
    (tmp_path / "b" / "001.png").write_bytes(b"")
    with pytest.raises(HypermnesiaError, match="b/001.png: the image cannot be read"):
        open_source(f"folder:{tmp_path}")


def test_a_changed_file_is_read_anew(tmp_path: Path):
    fill(tmp_path / "a", 3)
    fill(tmp_path / "b", 3)
    before = open_source(f"folder:{tmp_path}").sha256
    (tmp_path / "b" / "001.png").write_bytes(gray_images(1, start=200)[0])
    assert open_source(f"folder:{tmp_path}").sha256 != before


def test_bad_folders(tmp_path: Path):
    def expect(text: str) -> None:
        with pytest.raises(HypermnesiaError, match=re.escape(text)):
            open_source(f"folder:{tmp_path}/here")

    expect("no such folder")
    (tmp_path / "here").mkdir()
    expect("has no sub-folder; expected at least two, one for each class")
    fill(tmp_path / "here" / "a", 2)
    expect("has one class only (a); expected at least two")
    (tmp_path / "here" / "b").mkdir()
    expect("here/b' has no image; expected files ending in .png")


def test_a_class_that_only_the_test_folder_has(tmp_path: Path):
    for folder in ("train/a", "train/b", "test/a", "test/b", "test/c"):
        fill(tmp_path / folder, 1)
    with pytest.raises(HypermnesiaError, match="test' has class 'c', which train has not; expected a, b"):
        open_source(f"folder:{tmp_path}")


def test_a_name_that_is_no_text_is_told_before_anything_is_trained(tmp_path: Path):
    fill(tmp_path / "a", 3)
    fill(tmp_path / os.fsdecode(b"caf\xe9"), 3)
    with pytest.raises(
        HypermnesiaError, match=r"class name 'caf\\udce9' holds bytes that are not UTF-8; rename it"
    ):
        open_source(f"folder:{tmp_path}")
    with pytest.raises(
        HypermnesiaError, match=r"name of the task 'caf\\udce9' holds bytes that are not UTF-8"
    ):
        hm.load(f"folders:{tmp_path}")
