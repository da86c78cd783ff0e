"""The tiling against a grid on which every entry is marked one by one."""

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypermnesia.weights.distance.tiling import Rectangle, rectangles, tile


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
def test_rectangles_cover_a_span_once(width, start, length):
    grid = torch.zeros(10, width)
    start = min(start, grid.numel())
    stop = min(start + length, grid.numel())
    cuts = rectangles(start, stop, width)
    for cut in cuts:
        grid[cut.top : cut.bottom, cut.left : cut.right] += 1
    expected = torch.zeros(grid.numel())
    expected[start:stop] = 1
    assert torch.equal(grid.flatten(), expected)
    assert len(cuts) <= 3


@given(
    st.lists(st.tuples(st.lists(st.integers(1, 4), max_size=3), st.booleans()), min_size=1, max_size=6),
    st.integers(1, 30),
)
def test_every_used_result_is_in_one_place(tensors, outputs):
    shapes = {f"t{i}": torch.Size(shape) for i, (shape, _) in enumerate(tensors)}
    apart = {f"t{i}" for i, (_, alone) in enumerate(tensors) if alone}
    total = sum(prod(shape) for shape in shapes.values())
    rows = -(-total // outputs)
    tiling = tile(rows, outputs, shapes, apart)

    together = torch.zeros(rows, outputs)
    for top, bottom, used in tiling.bands:
        for left, right in (tiling.segments[i] for i in used):
            together[top:bottom, left:right] += 1
    entries = {name: torch.zeros(prod(shape)) for name, shape in shapes.items()}
    by_itself = torch.zeros(rows, outputs)
    for name, start, where in tiling.pieces:
        area = (where.bottom - where.top) * (where.right - where.left)
        entries[name][start : start + area] += 1
        by_itself[where.top : where.bottom, where.left : where.right] += 1

    expected = torch.cat([torch.full((prod(shape),), float(name in apart)) for name, shape in shapes.items()])
    surplus = torch.zeros(rows * outputs - total)
    assert torch.equal(by_itself.flatten(), torch.cat([expected, surplus]))
    assert torch.equal(together.flatten(), torch.cat([1 - expected, surplus]))
    assert all(torch.equal(entries[name], torch.ones(prod(shapes[name]))) for name in apart)
    assert [left for left, _ in tiling.segments] + [outputs] == [0] + [right for _, right in tiling.segments]
    assert [top for top, _, _ in tiling.bands] + [rows] == [0] + [bottom for _, bottom, _ in tiling.bands]


def test_pieces_follow_the_tensors_own_order():
    tiling = tile(2, 5, {"a": torch.Size((3,)), "b": torch.Size((2, 3))}, ["b"])
    assert tiling.pieces == [("b", 0, Rectangle(0, 1, 3, 5)), ("b", 2, Rectangle(1, 2, 0, 4))]


@pytest.mark.parametrize(("surplus", "bands"), [(0, [(0, 4, [0])]), (2, [(0, 3, [0, 1]), (3, 4, [0])])])
def test_a_surplus_splits_off_the_last_row(surplus, bands):
    assert tile(4, 6, {"all": torch.Size((24 - surplus,))}).bands == bands
