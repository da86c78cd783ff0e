"""Nested values taken apart and put together again."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from hypermnesia.core.trees import flat, rebuilt
from hypermnesia.methods.replay.buffer import empty


class Pair(NamedTuple):
    first: Tensor
    second: int


@dataclass(frozen=True)
class One:
    only: Tensor


@dataclass(frozen=True)
class Many:
    one: One
    pair: Pair
    table: dict[str, Tensor]
    rows: list[Any]
    note: str = "as it is"


def value(shift: float = 0.0, key: str = "b", second: int = 3, columns: int = 2) -> Many:
    x = torch.arange(6.0).view(-1, columns) + shift
    return Many(One(x), Pair(x + 1, second), {"a": x + 2, key: x + 3}, [(x + 4,), None, nn.Parameter(x + 5)])


def test_there_and_back() -> None:
    found = flat(value())
    assert [float(leaf.detach()[0, 0]) for leaf in found.leaves] == [0, 1, 2, 3, 4, 5]
    again = rebuilt(value(), iter(leaf + 10 for leaf in found.leaves))
    assert torch.equal(again.one.only, value(10).one.only)
    assert type(again.pair) is Pair and again.pair.second == 3
    assert list(again.table) == ["a", "b"]
    assert [float(leaf.detach()[0, 0]) for leaf in flat(again).leaves] == [10, 11, 12, 13, 14, 15]
    assert again.note == "as it is" and again.rows[1] is None


@pytest.mark.parametrize(
    ("other", "same"),
    [({"shift": 7.0}, True), ({"key": "c"}, False), ({"second": 4}, False), ({"columns": 3}, False)],
    ids=["numbers", "key", "plain number", "shape"],
)
def test_forms(other: dict[str, Any], same: bool) -> None:
    assert (flat(value()).form == flat(value(**other)).form) is same


def test_strides_and_types_are_of_the_form() -> None:
    x = torch.zeros(2, 2)
    assert flat(x).form != flat(x.to(torch.int64)).form
    assert flat(torch.zeros(2, 3)).form != flat(torch.zeros(3, 2).mT).form


def test_memories_are_not_looked_into() -> None:
    memory = empty(5, (1, 2, 2))
    assert flat(memory).leaves == []
    assert rebuilt(memory, iter(())) is memory
    assert flat((1, memory)).form == flat((1, empty(9, (1, 2, 2)))).form


def test_several_values_are_one_list() -> None:
    x = torch.zeros(2)
    assert len(flat(x, {"y": x}, 3).leaves) == 2
