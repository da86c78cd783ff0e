import re
from pathlib import Path

import pytest

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import open_source

ROWS = "a,b,label\n" + "".join(f"{i},{i / 2},{'xyz'[i % 3]}\n" for i in range(12))


def test_numbers_are_features(tmp_path: Path):
    (tmp_path / "data.csv").write_text(ROWS)
    source = open_source(f"csv:{tmp_path / 'data.csv'}")
    assert (source.kind, source.shape, source.class_names) == ("vectors", (2,), ("x", "y", "z"))
    rows = [*source.train.x.tolist(), *source.test.x.tolist()]
    assert sorted(rows) == [[i, i / 2] for i in range(12)]


def test_train_and_test_files(tmp_path: Path):
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "test.csv").write_text("a,b,label\n0,0,z\n1,1,y\n2,2,x\n")
    stream = hm.load(f"csv:{tmp_path}", options=hm.StreamOptions(tasks=3))
    assert [len(task.train) for task in stream.tasks] == [4, 4, 4]
    assert stream.preprocess.mean == (5.5, 2.75)
    raw = hm.load(f"csv:{tmp_path}", options=hm.StreamOptions(normalize="unit"))
    assert raw.preprocess.mean == (0.0,)


def test_texts(tmp_path: Path):
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"a word {i},{i % 2}\n" for i in range(8)))
    assert open_source(f"csv:{tmp_path / 'data.csv'}").kind == "texts"


def test_texts_of_several_lines_in_a_file_of_several_blocks(tmp_path: Path):
    text = "a line of words\n" * 100
    (tmp_path / "data.csv").write_text(
        "text,label\n" + "".join(f'"{text}number {i}",{i % 2}\n' for i in range(800))
    )
    assert (tmp_path / "data.csv").stat().st_size > 2**20
    source = open_source(f"csv:{tmp_path / 'data.csv'}")
    assert (source.kind, len(source.train) + len(source.test)) == ("texts", 800)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as CSV"),
        ("a,label\n", "there is no line below the column names"),
        ("a,label\n1,2,3\n", "cannot be read as CSV"),
        ("a,label\n1,x\n,y\n", "row 1: column 'a' is missing; fill in what is missing, or drop the row"),
        ("a,b,label\n1,red,x\n2,blue,y\n", "column 'b' is string; features are numbers: drop it"),
        ("a,b\n1,2\n", "no label column; expected one named label"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, said: str):
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(HypermnesiaError, match=re.escape(said)):
        open_source(f"csv:{tmp_path / 'data.csv'}")


def test_options_of_images_are_refused(tmp_path: Path):
    (tmp_path / "data.csv").write_text(ROWS)
    for options, said in (
        (hm.StreamOptions(size=8), "stream.size is for images; the samples of csv:"),
        (hm.StreamOptions(normalize="imagenet"), "stream.normalize=imagenet is for colour images"),
    ):
        with pytest.raises(HypermnesiaError, match=said):
            hm.load(f"csv:{tmp_path / 'data.csv'}", options=options)
