"""Settings made in Python are held to the same types and ranges as those of the command line."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from hypermnesia.core.checks import check_count
from hypermnesia.core.declared import (
    Count,
    Fraction,
    NotNegative,
    OneOrMore,
    Positive,
    Probability,
    check_options,
    describe,
)
from hypermnesia.core.errors import HypermnesiaError

Colour = Literal["red", "green"]


@dataclass(frozen=True)
class Paint:
    colour: Colour = "red"
    coats: Literal[1, 2] = 1
    litres: Positive | None = None
    walls: OneOrMore = (1,)
    shares: tuple[Fraction, Fraction] = (0.0, 1.0)
    name: str = "anything"
    others: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_options(self, "paint")


def test_choices_of_every_field_are_checked():
    assert Paint(colour="green", coats=2, name="whatever").coats == 2
    with pytest.raises(
        HypermnesiaError, match=r"^unknown paint\.colour 'gren'; did you mean 'green'\? known: green, red$"
    ):
        Paint(colour="gren")  # pyright: ignore[reportArgumentType]
    with pytest.raises(HypermnesiaError, match=r"^unknown paint\.coats '3'; known: 1, 2$"):
        Paint(coats=3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"litres": 0}, "paint.litres=0: expected number > 0 | none"),
        ({"litres": math.inf}, "paint.litres=inf: expected number > 0 | none"),
        ({"litres": "2"}, "paint.litres='2': expected number > 0 | none"),
        ({"litres": True}, "paint.litres=True: expected number > 0 | none"),
        ({"walls": ()}, "paint.walls=(): expected [integer >= 1, ...] of 1 or more"),
        ({"walls": (2, 0)}, "paint.walls=(2, 0): expected [integer >= 1, ...] of 1 or more"),
        ({"walls": 2}, "paint.walls=2: expected [integer >= 1, ...] of 1 or more"),
        (
            {"shares": (0.5, 1.5)},
            "paint.shares=(0.5, 1.5): expected [number >= 0 and <= 1, number >= 0 and <= 1]",
        ),
        ({"name": 3}, "paint.name=3: expected text"),
    ],
)
def test_ranges_are_what_is_declared(given: dict[str, Any], message: str):
    with pytest.raises(HypermnesiaError) as caught:
        Paint(**given)
    assert str(caught.value) == message


def test_lists_become_tuples_and_whole_numbers_numbers():
    paint = Paint(walls=[3, 4], litres=2)  # pyright: ignore[reportArgumentType]
    assert paint.walls == (3, 4)
    assert isinstance(paint.litres, float)


@pytest.mark.parametrize(
    ("hint", "low", "high", "inside", "outside"),
    [
        (Count, 1, None, (1, 7), (0, -1, 1.0)),
        (NotNegative, 0, None, (0, 0.0, 3), (-1e-9, math.nan, math.inf, 10**400)),
        (Positive, 0, None, (1e-9,), (0, 0.0)),
        (Probability, 0, 1, (0, 0.999), (1, -0.1)),
        (Fraction, 0, 1, (0, 1), (1.1, -0.1)),
    ],
)
def test_ends_of_ranges(hint: Any, low: float, high: float | None, inside: tuple, outside: tuple):
    kind = type("One", (), {"__annotations__": {"value": hint}})
    one = dataclass(kind)  # pyright: ignore[reportCallIssue, reportArgumentType]
    for value in inside:
        check_options(one(value), "one")
    for value in outside:
        with pytest.raises(HypermnesiaError, match=r"^one\.value="):
            check_options(one(value), "one")
    assert str(low) in describe(hint) and (high is None or str(high) in describe(hint))


@pytest.mark.parametrize("value", [0, True, 1.0])
def test_a_count_is_a_whole_number(value: object):
    check_count("a.b", 1)
    with pytest.raises(HypermnesiaError, match=rf"^a\.b={value}: expected a whole number, at least 1$"):
        check_count("a.b", value)  # pyright: ignore[reportArgumentType]
