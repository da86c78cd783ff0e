import math
from typing import Literal, Optional

import pytest

from hypermnesia.core.declared import describe
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config.values import read

Name = Literal["adam", "sgd"]


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (float, 0.5, 0.5),
        (bool, True, True),
        (str, "a", "a"),
        (str, None, "none"),
        (Name, "sgd", "sgd"),
        (Literal["none", "all"], None, "none"),
        (Literal[1, 2], 2, 2),
        (int | None, None, None),
        (Optional[int], 4, 4),  # noqa: UP045 (the old spelling is what is tested)
        (str | None, "none", None),
        (tuple[int, ...], [], ()),
        (tuple[int, ...], [400, 400], (400, 400)),
        (tuple[float, float], [0, 1], (0.0, 1.0)),
        (tuple[str | None, ...], ["none", "a"], (None, "a")),
        (tuple[tuple[int, int], ...], [[1, 2], [3, 4]], ((1, 2), (3, 4))),
        (float | Literal["auto"], 2, 2.0),
        (float | Literal["auto"], "auto", "auto"),
        (int | tuple[int, ...], [1], (1,)),
    ],
)
def test_values_of_the_right_type(hint, value, expected):
    got = read(hint, value, "key")
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, True, "key: expected integer, got true"),
        (int, 1.0, "key: expected integer, got number 1.0"),
        (int, "1", 'key: expected integer, got text "1"'),
        (int, None, "key: expected integer, got none"),
        (bool, 1, "key: expected true | false, got integer 1"),
        (float, True, "key: expected number, got true"),
        (float, math.nan, "key: expected number, got number nan; it must be finite"),
        (tuple[float, ...], [-math.inf], "key: expected [number, ...], got list [-inf]"),
        (str, 3, "key: expected text, got integer 3; quote it if it is text"),
        (str, ["a"], "key: expected text, got list [a]"),
        (Name, "sdg", "unknown key 'sdg'; did you mean 'sgd'? known: adam, sgd"),
        (Name | None, "x", "unknown key 'x'; known: adam, none, sgd"),
        (Name, 1, "key: expected adam | sgd, got integer 1"),
        (Literal[1, 2], True, "key: expected 1 | 2, got true"),
        (int | Name, "sdg", "key: expected integer | adam | sgd, got text sdg"),
        (tuple[int, ...], 400, "key: expected [integer, ...], got integer 400; write a list as [400]"),
        (tuple[int, ...], [1, "a"], "key: expected [integer, ...], got list [1,a]"),
        (tuple[float, float], [1], "key: expected [number, number], got list [1]"),
        (int | None, "a" * 200, f"key: expected integer | none, got text {'a' * 77}..."),
        (int, {"a": 1, "b": 2}, "key: expected integer, got keys a, b"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(hint, value, message):
    with pytest.raises(HypermnesiaError) as caught:
        read(hint, value, "key")
    assert str(caught.value) == message


@pytest.mark.parametrize("hint", [object, dict[str, int], list[int], set])
def test_other_types_are_a_mistake_of_the_programmer(hint):
    with pytest.raises(TypeError, match="is no type that an option may have"):
        read(hint, 1, "key")
    with pytest.raises(TypeError, match="is no type that an option may have"):
        describe(hint)


def test_types_in_words():
    assert describe(tuple[tuple[float, float], ...] | None) == "[[number, number], ...] | none"
    assert describe(Literal["adam", "none", "3"]) == 'adam | none | "3"'
