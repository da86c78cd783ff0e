"""Settings made in Python are held to the same words and ranges as those of the command line."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

import hypermnesia as hm
from hypermnesia.core.checks import check_choices, check_count, check_not_negative
from hypermnesia.core.errors import HypermnesiaError

Colour = Literal["red", "green"]


@dataclass(frozen=True)
class Paint:
    colour: Colour = "red"
    coats: Literal[1, 2] = 1
    name: str = "anything"

    def __post_init__(self) -> None:
        check_choices(self, "paint")


def test_choices_of_every_field_are_checked():
    assert Paint(colour="green", coats=2, name="whatever").coats == 2
    with pytest.raises(
        HypermnesiaError, match=r"^unknown paint\.colour 'gren'; did you mean 'green'\? known: green, red$"
    ):
        Paint(colour="gren")  # pyright: ignore[reportArgumentType]
    with pytest.raises(HypermnesiaError, match=r"^unknown paint\.coats '3'; known: 1, 2$"):
        Paint(coats=3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_not_negative_means_finite_too(value: float):
    check_not_negative("a.b", 0)
    with pytest.raises(HypermnesiaError, match=rf"^a\.b={value}: expected a finite number, at least 0$"):
        check_not_negative("a.b", value)


@pytest.mark.parametrize("value", [0, True, 1.0])
def test_a_count_is_a_whole_number(value: object):
    check_count("a.b", 1)
    with pytest.raises(HypermnesiaError, match=rf"^a\.b={value}: expected a whole number, at least 1$"):
        check_count("a.b", value)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("options", "field", "text"),
    [
        (hm.OptimizerOptions, {"name": "SGD"}, r"unknown optimizer\.name 'SGD'; did you mean 'sgd'\?"),
        (hm.OptimizerOptions, {"schedule": "linear"}, r"unknown optimizer\.schedule 'linear'"),
        (hm.EvaluateOptions, {"every": "epoch"}, r"unknown evaluate\.every 'epoch'"),
        (hm.MemoryOptions, {"policy": "random"}, r"unknown memory\.policy 'random'"),
        (
            hm.WeightsOptions,
            {"kind": "hypernet"},
            r"unknown weights\.kind 'hypernet'; did you mean 'hyper'\?",
        ),
        (hm.Partial, {"tail_norm": "batch"}, r"unknown weights\.tail_norm 'batch'"),
        (hm.Drift, {"look_ahead": "adam"}, r"unknown drift\.look_ahead 'adam'"),
        (hm.Drift, {"form": "grams"}, r"unknown drift\.form 'grams'; did you mean 'gram'\?"),
    ],
)
def test_a_word_that_an_option_does_not_know_is_refused_in_python_too(options: Any, field: dict, text: str):
    """Each of these was once taken for another one: an optimizer "SGD" for AdamW."""
    with pytest.raises(HypermnesiaError, match=text):
        options(**field)
