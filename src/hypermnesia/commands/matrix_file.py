"""Accuracy matrices as people paste them: comma-, semicolon-, tab- or space-separated."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hypermnesia.core.errors import HypermnesiaError

LARGEST = 10 * 2**20
"""Characters of a matrix."""
_ABSENT = {"", "-", "–", "nan", "none", "null", "na", "n/a", "."}
_Row = list[float | None]


def read_matrix(path: Path) -> list[_Row]:
    """The matrix in a text file; see `parse_matrix`."""
    try:
        if not path.is_file():
            raise HypermnesiaError(f"there is no file {path}; expected a matrix as CSV, or a run directory")
        with open(path, encoding="utf-8") as file:
            return read_stream(file, str(path))
    except OSError as error:
        raise HypermnesiaError(f"{path} cannot be read: {error.strerror or error}") from error


def read_stream(stream: TextIO, where: str) -> list[_Row]:
    """The matrix that a stream of text holds, called `where` in errors."""
    try:
        text = stream.read(LARGEST + 1)
    except UnicodeDecodeError as error:
        raise HypermnesiaError(f"{where} is no UTF-8 text: {error.reason} at byte {error.start}") from error
    if len(text) > LARGEST:
        raise HypermnesiaError(f"{where} is longer than {LARGEST} characters: no matrix of accuracies")
    return parse_matrix(text.removeprefix("\ufeff"), where)


def parse_matrix(text: str, where: str = "matrix") -> list[_Row]:
    """The rows of a pasted matrix as fractions in 0..1, None where an entry is absent.

    A row for each task learned, a column for each test. Entries are absent where nothing stands between two
    separators, or `-`, `nan`, `none`. Rows may be shorter than the longest one. Empty lines, lines that begin with #,
    and a first line without any number are left out. Brackets around rows are ignored, so nested lists can be pasted.
    If any value is above 1, all are read as percentages.
    """
    cells = [(_cells(line), number) for number, line in _lines(text)]
    if cells and not any(_is_number(cell) for cell in cells[0][0]) and not all(map(_is_absent, cells[0][0])):
        cells = cells[1:]  # names of columns
    rows = [[_value(cell, f"{where}, line {number}") for cell in row] for row, number in cells]
    values = [value for row in rows for value in row if value is not None]
    if not values:
        raise HypermnesiaError(f"{where} holds no number; expected a row of accuracies for each task")
    scale = 100.0 if max(values) > 1 else 1.0
    if min(values) < 0 or max(values) > 100:
        odd = min(values) if min(values) < 0 else max(values)
        raise HypermnesiaError(f"{where}: {odd:g} is no accuracy; expected fractions in 0..1 or percentages")
    return [[None if value is None else value / scale for value in row] for row in rows]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line without brackets) of the lines that hold the matrix."""
    for number, lines in enumerate(text.splitlines(), 1):
        for line in re.split(r"\]\s*(?:,\s*)?\[", lines):  # rows of a nested list on one line
            line = line.strip().strip("[](){}").strip().removesuffix(",").rstrip("])}")
            if line and not line.startswith("#"):
                yield number, line


def _cells(line: str) -> list[str]:
    found = next((line.split(mark) for mark in (";", "\t", ",") if mark in line), None)
    return [cell.strip().strip("\"'") for cell in (line.split() if found is None else found)]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell.removesuffix("%")))
    except ValueError:
        return False


def _is_absent(cell: str) -> bool:
    return cell.lower() in _ABSENT


def _value(cell: str, where: str) -> float | None:
    if _is_absent(cell):
        return None
    if not _is_number(cell):
        raise HypermnesiaError(f"{where}: {cell[:40]!r} is no number")
    return float(cell.removesuffix("%"))
