"""Which of a linear factor's results the target uses: a grid of rows × outputs, cut into few rectangles."""

from collections.abc import Collection
from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch

from hypermnesia.weights.hypernets.factors import Shapes


class Rectangle(NamedTuple):
    """Rows `top` to `bottom` and outputs `left` to `right` (ends excluded)."""

    top: int
    bottom: int
    left: int
    right: int


class Piece(NamedTuple):
    """A part of one tensor that is one rectangle."""

    name: str
    start: int
    """First of the tensor's entries, in row-major order; they fill the rectangle row after row."""
    where: Rectangle


class Part(NamedTuple):
    """Rows `top` to `bottom`, for which some segments count and others, counted before, count no more."""

    top: int
    bottom: int
    added: list[int]
    taken: list[int]


class Tiling(NamedTuple):
    """The used results: some that count alike for all tasks, and those of named tensors, which may not."""

    segments: list[tuple[int, int]]
    """Ranges of outputs, side by side from the first to the last."""
    bands: list[tuple[int, int, list[int]]]
    """Ranges of rows, side by side from the first to the last, each with the segments that its rows use."""
    pieces: list[Piece]
    """The tensors apart, cut into rectangles."""
    parts: list[Part]
    """The bands once more: all rows with the segments of the tallest band, then every other band with what it has more
    or less. A surplus at the end then concerns one row and needs no copy of all others."""


def tile(rows: int, outputs: int, shapes: Shapes, apart: Collection[str] = ()) -> Tiling:
    """How the tensors `shapes` lie in a grid of `rows` × `outputs` results, with those `apart` by themselves.

    Usually one band of one segment; a surplus at the end splits off the last row.
    """
    return _tile(rows, outputs, tuple(shapes.items()), tuple(apart))


@lru_cache(maxsize=1024)  # every step asks for the same ones
def _tile(
    rows: int, outputs: int, shapes: tuple[tuple[str, torch.Size], ...], apart: tuple[str, ...]
) -> Tiling:
    spans: list[tuple[int, int]] = []
    pieces: list[Piece] = []
    stop = 0
    for name, shape in shapes:
        start, stop = stop, stop + prod(shape)
        if name in apart:
            for cut in rectangles(start, stop, outputs):
                pieces.append(Piece(name, cut.top * outputs + cut.left - start, cut))
        elif spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    cuts = [cut for span in spans for cut in rectangles(*span, outputs)]
    columns = sorted({0, outputs, *(edge for cut in cuts for edge in (cut.left, cut.right))})
    lines = sorted({0, rows, *(edge for cut in cuts for edge in (cut.top, cut.bottom))})
    segments = list(zip(columns[:-1], columns[1:], strict=True))
    bands: list[tuple[int, int, list[int]]] = []
    for top, bottom in zip(lines[:-1], lines[1:], strict=True):
        here = [cut for cut in cuts if cut.top <= top < cut.bottom]
        used = [i for i, (left, _) in enumerate(segments) if any(c.left <= left < c.right for c in here)]
        bands.append((top, bottom, used))
    return Tiling(segments, bands, pieces, _parts(bands))


def _parts(bands: list[tuple[int, int, list[int]]]) -> list[Part]:
    tallest = max(bands, key=lambda band: band[1] - band[0])[2]
    parts = [Part(bands[0][0], bands[-1][1], tallest, [])]
    for top, bottom, used in bands:
        added, taken = [i for i in used if i not in tallest], [i for i in tallest if i not in used]
        parts.append(Part(top, bottom, added, taken))
    return [part for part in parts if part.added or part.taken]


def rectangles(start: int, stop: int, width: int) -> list[Rectangle]:
    """Entries `start` to `stop` of a grid of rows of `width`, as at most three rectangles."""
    cuts = []
    (top, left), (last, right) = divmod(start, width), divmod(stop, width)
    if left and top < last:
        cuts.append(Rectangle(top, top + 1, left, width))
        top, left = top + 1, 0
    if top < last:
        cuts.append(Rectangle(top, last, 0, width))
        top = last
    if left < right:
        cuts.append(Rectangle(top, top + 1, left, right))
    return cuts
