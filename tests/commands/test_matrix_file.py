"""Pasted accuracy matrices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypermnesia.commands.matrix_file import LARGEST, parse_matrix, read_matrix
from hypermnesia.core.errors import HypermnesiaError

MATRIX = [[0.9, 0.2], [0.7, 0.8]]


@pytest.mark.parametrize(
    "text",
    [
        "0.9,0.2\n0.7,0.8",
        "0.9;0.2\r\n0.7;0.8\r\n",
        "0.9\t0.2\n\n0.7\t0.8\n",
        "  0.9   0.2\n0.7 0.8",
        "90,20\n70,80",
        "90 %,20%\n70%,80%",
        "first,second\n0.9,0.2\n0.7,0.8",
        "# accuracies\n0.9,0.2\n# more\n0.7,0.8",
        "[[0.9, 0.2],\n [0.7, 0.8]]",
        "[[0.9, 0.2], [0.7, 0.8]]",
        '"0.9","0.2"\n"0.7","0.8"',
    ],
)
def test_forms(text):
    assert parse_matrix(text) == MATRIX


def test_absent_entries_and_short_rows():
    assert parse_matrix("0.9,,nan\n0.5,-,None\n0.1") == [[0.9, None, None], [0.5, None, None], [0.1]]
    assert parse_matrix("-,-\n0.5,0.6") == [[None, None], [0.5, 0.6]]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "m holds no number; expected a row of accuracies for each task"),
        ("a,b\nc,d", "m, line 2: 'c' is no number"),
        ("0.9,high", "m, line 1: 'high' is no number"),
        ("0.9,inf", "m, line 1: 'inf' is no number"),
        ("0.9,-0.1", "m: -0.1 is no accuracy; expected fractions in 0..1 or percentages"),
        ("90,101", "m: 101 is no accuracy"),
    ],
)
def test_what_is_no_matrix_is_told(text, fault):
    with pytest.raises(HypermnesiaError, match="^m") as error:
        parse_matrix(text, "m")
    assert fault in str(error.value)


def test_files(tmp_path):
    good, binary, large = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"
    good.write_bytes(b"\xef\xbb\xbf0.9,0.2\n0.7,0.8")  # with the mark that spreadsheets write
    assert read_matrix(good) == MATRIX
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HypermnesiaError, match="is no UTF-8 text"):
        read_matrix(binary)
    large.write_bytes(b"0 " * (LARGEST // 2 + 1))
    with pytest.raises(HypermnesiaError, match="is longer than"):
        read_matrix(large)
    with pytest.raises(HypermnesiaError, match="there is no file"):
        read_matrix(tmp_path / "d.csv")


@given(st.text(alphabet="0123456789.,;- \n[]%#x\t", max_size=40))
def test_any_text_gives_fractions_or_an_error(text):
    try:
        rows = parse_matrix(text)
    except HypermnesiaError:
        return
    assert all(value is None or 0 <= value <= 1 for row in rows for value in row)
