"""Settings compared, and copied with other numbers."""

from dataclasses import dataclass

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.trees import numbers, with_numbers
from hypermnesia.methods.der import DERPP
from hypermnesia.methods.replay.rehearsal import MemoryOptions


@dataclass(frozen=True)
class Outer:
    method: DERPP
    rest: tuple[float, str] = (1.0, "a")


def outer(alpha: float = 0.5, size: int = 10, rest: tuple[float, str] = (1.0, "a")) -> Outer:
    return Outer(DERPP(alpha=alpha, memory=MemoryOptions(size=size)), rest)


def test_numbers_that_differ() -> None:
    assert numbers([outer(), outer()]) == {}
    assert numbers([outer(0.1), outer(0.2), outer(0.1)]) == {("method", "alpha"): [0.1, 0.2, 0.1]}
    assert numbers([outer(rest=(1.0, "a")), outer(rest=(2.0, "a"))]) == {("rest", 0): [1.0, 2.0]}
    assert numbers([{"a": outer()}, {"a": outer(0.1)}]) == {("a", "method", "alpha"): [0.5, 0.1]}


@pytest.mark.parametrize(
    "other",
    [outer(size=11), outer(rest=(1.0, "b")), DERPP(), {"method": DERPP()}],
    ids=["a whole number", "a word", "another class", "another kind"],
)
def test_other_differences_are_not_named(other: object) -> None:
    assert numbers([outer(), other]) is None


def test_a_copy_holds_what_its_checks_would_refuse() -> None:
    with pytest.raises(HypermnesiaError):
        DERPP(alpha=-1.0)
    given = outer()
    copy = with_numbers(given, {("method", "alpha"): torch.tensor(-1.0), ("rest", 0): 7.0})
    assert copy.method.alpha.item() == -1 and copy.rest == (7.0, "a")
    assert copy.method.memory is given.method.memory and copy.method.beta == given.method.beta
    assert given == outer() and with_numbers(given, {}) is given
