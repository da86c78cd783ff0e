"""Texts: words to ids, and streams of texts from parquet files, folders and Python's own library."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data.sources.test_folder import fill

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import StreamOptions, TextForm, load, open_source
from hypermnesia.data.sources.builtin import MODULES, TEST_SHARE
from hypermnesia.data.sources.text import MOST_BYTES, token, tokenise, words

SHORT = TextForm(length=6, vocabulary=100)


def texts(count: int, start: int = 0) -> list[str]:
    return [f"Text number {start + i}: nothing more." for i in range(count)]


def write(path: Path, column: str, values: list[str | None], labels: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: values, "label": labels}), path)
    return path


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------------- tokens


def test_words():
    assert words("Don't STOP, naïve_user: 3.5!") == [
        "don",
        "'",
        "t",
        "stop",
        ",",
        "naïve_user",
        ":",
        "3",
        ".",
        "5",
        "!",
    ]


def test_ids_never_change():
    """They are stored in networks: another hash would make a network useless."""
    assert [token(word, 16384) for word in ("the", "class", "é", "!")] == [5353, 15306, 3949, 68]
    assert {token(str(i), 100) for i in range(2000)} == set(range(1, 100))


def test_texts_are_cut_and_padded():
    x = tokenise([b"one two three", b"a b c d e f g h"], str, SHORT)
    assert (x.dtype, tuple(x.shape)) == (torch.int64, (2, 6))
    assert x[0].tolist() == [token(word, 100) for word in ("one", "two", "three")] + [0, 0, 0]
    assert x[1].tolist() == [token(word, 100) for word in "abcdef"]


def test_files_are_read_as_far_as_needed(tmp_path: Path):
    """The limit may fall into a character of several bytes."""
    path = tmp_path / "large.txt"
    path.write_bytes(b"one " + "é".encode() * MOST_BYTES)
    assert tokenise([path], str, SHORT)[0, 0] == token("one", 100)
    assert tokenise([b"x" * (MOST_BYTES - 1) + "é".encode()], str, SHORT).count_nonzero() == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"  \n ", r"^row 0: the text is empty$"),
        (b"caf\xe9 au lait", r"^row 0: the text is no UTF-8 \(invalid continuation byte at byte 3\)$"),
        (Path("/nowhere/at/all.txt"), r"^row 0: cannot be read: No such file or directory$"),
    ],
)
def test_bad_texts(text: bytes | Path, said: str):
    with pytest.raises(HypermnesiaError, match=said):
        tokenise([text], lambda i: f"row {i}", SHORT)


# -------------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("column", ["text", "sentence", "content"])
def test_parquet(tmp_path: Path, column: str):
    write(tmp_path / "train.parquet", column, texts(4), ["b", "a", "b", "a"])
    write(tmp_path / "test.parquet", column, texts(2, 9), ["a", "b"])
    source = open_source(f"parquet:{tmp_path}", text=SHORT)
    assert source.class_names == ("a", "b")
    assert source.train.y.tolist() == [1, 0, 1, 0]
    assert torch.equal(source.train.x, tokenise([t.encode() for t in texts(4)], str, SHORT))
    assert torch.equal(source.test.x, tokenise([t.encode() for t in texts(2, 9)], str, SHORT))


def test_another_form_is_another_source(tmp_path: Path):
    path = write(tmp_path / "all.parquet", "text", texts(8), [0, 1] * 4)
    found = {
        open_source(f"parquet:{path}", text=form).sha256
        for form in (SHORT, TextForm(6, 90), TextForm(5, 100))
    }
    assert len(found) == 3


def test_bad_tables(tmp_path: Path):
    write(tmp_path / "null.parquet", "text", ["a", None, "b", "c"], [0, 0, 1, 1])
    pq.write_table(pa.table({"text": [1, 2], "label": [0, 1]}), tmp_path / "numbers.parquet")
    write(tmp_path / "mixed" / "train.parquet", "text", texts(2), [0, 1])
    write(tmp_path / "mixed" / "test.parquet", "sentence", texts(2), [0, 1])
    for name, said in (
        ("null.parquet", r"null\.parquet, row 1: the text is missing"),
        ("numbers.parquet", r"column 'text' is int64; expected strings"),
        (
            "mixed",
            r"test\.parquet: its samples are in column 'sentence', those of .*train\.parquet in 'text'",
        ),
    ):
        with pytest.raises(HypermnesiaError, match=said):
            open_source(f"parquet:{tmp_path / name}")


def test_folders_of_texts(tmp_path: Path):
    names = {f"{c}/{i}.txt": f"about {c}, part {i}" for c in ("b", "a") for i in range(5)}
    source = open_source(f"folder:{folder(tmp_path, names | {'a/notes.pdf': 'no text'})}", text=SHORT)
    assert (source.class_names, len(source.train), len(source.test)) == (("a", "b"), 8, 2)
    assert source.train.x[0, 1] == token("a", 100)


def test_folders_with_images_are_no_folders_of_texts(tmp_path: Path):
    folder(tmp_path, {"a/1.png": "", "a/1.txt": "a caption", "b/1.txt": "another"})
    with pytest.raises(HypermnesiaError, match=r"b' has no image; expected files ending in \.png"):
        open_source(f"folder:{tmp_path}")
    folder(tmp_path / "texts", {"a/1.txt": "one", "b/1.pdf": ""})
    with pytest.raises(
        HypermnesiaError, match=r"b' has no text; expected files ending in \.txt, \.md, \.rst"
    ):
        open_source(f"folder:{tmp_path / 'texts'}")


# -------------------------------------------------------------------------------------------------------- streams


def test_a_stream_of_docstrings():
    stream = load("split-docstrings", options=StreamOptions(length=20, vocabulary=500, samples_per_task=50))
    assert stream.class_names == tuple(MODULES)
    assert (stream.shape, len(stream.tasks)) == ((20,), 5)
    x, y = stream.tasks[1].train.batch(torch.arange(50))
    assert (x.dtype, int(x.max()) < 500) == (torch.int64, True)
    assert set(y.tolist()) == {2, 3}
    assert torch.equal(stream.preprocess(x), x)
    assert (
        stream.sha256
        == load(
            "split-docstrings", options=StreamOptions(length=20, vocabulary=500, samples_per_task=50)
        ).sha256
    )


def test_docstrings_are_many_and_occur_once():
    source = open_source("docstrings")
    assert len(source.train) + len(source.test) > 1000
    assert len(source.test) / (len(source.train) + len(source.test)) == pytest.approx(TEST_SHARE, abs=0.01)
    everything = torch.cat([source.train.x, source.test.x])
    assert len(everything.unique(dim=0)) > 0.98 * len(everything)  # beginnings of 64 words may still coincide


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("split-docstrings", {"size": 8}, "stream.size is for images; the samples of docstrings are texts"),
        (
            "split-docstrings",
            {"normalize": "unit"},
            "stream.normalize is for images and vectors; the samples of docstrings are",
        ),
        (
            "split-docstrings",
            {"augment": True},
            "stream.augment is for images; the samples of docstrings are texts",
        ),
        ("split-digits", {"length": 8}, "split-digits has no stream.length; its options: "),
    ],
)
def test_options_for_the_other_kind(name: str, options: dict, said: str):
    with pytest.raises(HypermnesiaError, match=re.escape(said)):
        load(name, options=StreamOptions(**options))


def test_options_for_texts_on_a_folder_of_images(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / name, 3)
    with pytest.raises(
        HypermnesiaError, match=r"stream\.length is for texts; the samples of folder:.* are images"
    ):
        load(f"folder:{tmp_path}", options=StreamOptions(length=8))
