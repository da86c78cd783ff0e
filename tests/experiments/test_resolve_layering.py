"""Settings in layers: what still holds beneath a later choice."""

from typing import Any

import pytest

from hypermnesia.experiments.resolve import layered, merge, selected


def test_short_words_for_choices_are_written_in_full() -> None:
    assert selected(
        {"net": "lenet", "weights": "mask", "generator": "dense", "infer": "fecam", "beta": 1}
    ) == {
        "net.name": "lenet",
        "weights.kind": "mask",
        "generator.name": "dense",
        "infer.name": "fecam",
        "beta": 1,
    }
    short = {
        "head": "sliced",
        "kind": "hyper",
        "tail": "stored",
        "per_task": ["*"],
        "generated": [],
        "masked": [],
    }
    assert selected(short) == {f"weights.{key}": value for key, value in short.items()}


def test_later_layers_win() -> None:
    assert merge([{"a": 1, "b": 1}, {"b": 2, "c": 2}, {"c": 3}]) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("below", "choice", "left"),
    [
        ({"net.name": "mlp", "net.hidden": [5]}, {"net.name": "lenet"}, {}),
        ({"net.name": "mlp", "net.hidden": [5]}, {"net.name": "mlp"}, {"net.hidden": [5]}),
        ({"net.hidden": [5]}, {"net.name": "mlp"}, {"net.hidden": [5]}),
        ({"net.name": "mlp", "net.hidden": [5], "optimizer.lr": 1}, {"net.name": "vit"}, {"optimizer.lr": 1}),
        ({"generator.name": "dense", "generator.hidden": [5]}, {"generator.name": "heads"}, {}),
        (
            {
                "weights.kind": "hyper",
                "weights.head": "sliced",
                "generator.chunk": 5,
                "drift.beta": 1,
                "net.name": "mlp",
            },
            {"weights.kind": "mask"},
            {"net.name": "mlp"},
        ),
    ],
)
def test_another_choice_drops_what_was_said_of_the_former(
    below: dict[str, Any], choice: dict[str, Any], left: dict[str, Any]
) -> None:
    assert merge([below, choice]) == left | choice


def test_what_is_said_with_a_choice_stays() -> None:
    found = merge([{"net.name": "mlp", "net.hidden": [5]}, {"net.name": "vit", "net.width": 8}])
    assert found == {"net.name": "vit", "net.width": 8}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([{"train.iterations": 5}, {"train.epochs": 2}], {"train.epochs": 2}),
        ([{"train.epochs": 2}, {"train.iterations": 5}], {"train.iterations": 5}),
        ([{"train.epochs": 2}, {"train.iterations": None}], {"train.epochs": 2, "train.iterations": None}),
        (
            [{"train.epochs": 2}, {"train.iterations": 5, "train.epochs": 3}],
            {"train.iterations": 5, "train.epochs": 3},
        ),
    ],
)
def test_the_later_length_counts(layers: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert merge(layers) == expected


def test_layers_stay_apart() -> None:
    below, between, above = layered(
        [{"net.name": "mlp", "net.hidden": [5]}, {"net.bias": True}, {"net.name": "vit"}]
    )
    assert (below, between, above) == ({}, {}, {"net.name": "vit"})
