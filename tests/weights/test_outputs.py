"""Heads: which classes a network's outputs stand for."""

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.outputs import Head, HeadKind

UNEVEN = ((4, 1), (2, 3, 0), (5,))
"""Tasks of two, three and one classes, not in the order of their ids."""


def head(kind: HeadKind, classes: tuple[tuple[int, ...], ...] = UNEVEN) -> Head:
    return Head(kind, classes, 6)


@pytest.mark.parametrize(
    ("kind", "width", "columns"),
    [
        ("shared", 6, [(0, 6), (0, 6), (0, 6)]),
        ("sliced", 6, [(0, 2), (2, 5), (5, 6)]),
        ("per_task", 3, [(0, 2), (0, 3), (0, 1)]),
    ],
)
def test_width_and_columns(kind: HeadKind, width: int, columns: list[tuple[int, int]]) -> None:
    found = head(kind)
    assert found.width == width
    assert [(found.columns(t).start, found.columns(t).stop) for t in range(3)] == columns
    assert all(len(found.outputs(t)) == stop - start for t, (start, stop) in enumerate(columns))


@pytest.mark.parametrize("kind", ["shared", "sliced", "per_task"])
def test_targets_are_positions_among_the_active_outputs(kind: HeadKind) -> None:
    found = head(kind)
    for task, classes in enumerate(UNEVEN):
        y = torch.tensor(classes + classes[::-1])
        targets = found.targets(y, task)
        assert targets.dtype == torch.int64
        assert [found.outputs(task)[i] for i in targets.tolist()] == y.tolist()


@pytest.mark.parametrize("kind", ["sliced", "per_task"])
def test_a_class_of_another_task_has_no_output(kind: HeadKind) -> None:
    assert head(kind).targets(torch.tensor([0, 1, 5]), 0).tolist() == [-1, 1, -1]


def test_tasks_that_share_classes() -> None:
    found = Head("sliced", ((0, 1), (1, 0)), 2)
    assert found.width == 4
    assert found.targets(torch.tensor([0, 1]), 1).tolist() == [1, 0]


def test_heads_wider_than_their_tasks() -> None:
    found = Head("per_task", UNEVEN, 6, least=4)
    assert found.width == 4
    assert [found.columns(t) for t in range(3)] == [slice(0, 4)] * 3
    assert [found.outputs(t) for t in range(3)] == [(4, 1, -1, -1), (2, 3, 0, -1), (5, -1, -1, -1)]
    assert found.targets(torch.tensor([1, 4, 5]), 0).tolist() == [1, 0, -1]
    assert Head("per_task", UNEVEN, 6, least=2).width == 3
    with pytest.raises(
        HypermnesiaError, match="weights.head_width=4 widens heads .* weights.head=per_task, not shared"
    ):
        Head("shared", UNEVEN, 6, least=4)


def test_an_unknown_kind() -> None:
    with pytest.raises(
        HypermnesiaError, match="head='wide' is not known; there are: shared, sliced, per_task"
    ):
        Head("wide", UNEVEN, 6)  # pyright: ignore[reportArgumentType]
