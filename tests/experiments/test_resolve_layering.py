"""Settings in layers: what still holds beneath a later choice."""

from typing import Any

import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments import config
from hypermnesia.experiments.approaches import approach
from hypermnesia.experiments.recipes import flatten
from hypermnesia.experiments.resolve import Draft, chosen


def settings(*layers: dict[str, Any]) -> dict[str, Any]:
    """Every option and choice of finetuning with these layers."""
    draft = Draft(approach("finetune"))
    for layer in layers:
        draft.add(layer)
    return flatten(config.tree(draft.sections)) | chosen(draft.sections)


def test_later_layers_win() -> None:
    found = settings({"optimizer.lr": 1.0, "clip": 1.0}, {"clip": 2.0, "threads": 2}, {"train.threads": 3})
    assert (found["optimizer.lr"], found["train.clip"], found["train.threads"]) == (1.0, 2.0, 3)


@pytest.mark.parametrize(
    ("below", "choice", "expected"),
    [
        ({"net": "mlp", "hidden": [5]}, {"net": "lenet"}, {"net.name": "lenet", "net.hidden": None}),
        ({"net": "mlp", "hidden": [5]}, {"net.name": "mlp"}, {"net.hidden": [5]}),
        ({"hidden": [5]}, {"net.name": "mlp"}, {"net.hidden": [5]}),
        ({"net": "mlp", "optimizer.lr": 0.5}, {"net.name": "vit"}, {"optimizer.lr": 0.5}),
        (
            {"weights": "hyper", "generator": "dense", "generator.hidden": [5]},
            {"generator": "heads"},
            {"weights.generator.hidden": [50, 32]},
        ),
        (
            {"weights": "hyper", "head": "sliced", "chunk": 5, "drift.beta": 1.0, "lr": 0.5, "net": "vit"},
            {"kind": "mask"},
            {
                "weights.head": "auto",
                "weights.generator.name": "dense",
                "drift.beta": 0.01,
                "optimizer.lr": 1e-3,
                "net.name": "vit",
            },
        ),
        ({"weights": "hyper", "drift": None}, {"weights": "mask"}, {"drift.beta": 0.01}),
        ({"weights": "hyper", "drift": None}, {"weights": "hyper"}, {"drift.beta": None}),
        (
            {"weights": "partial", "generator.hidden": [5]},
            {"tail": "stored"},
            {"weights.generator.hidden": None, "drift.beta": None},
        ),
        (
            {"weights": "partial", "generator.hidden": [5]},
            {"tail_norm": "keep"},
            {"weights.generator.hidden": [5]},
        ),
    ],
)
def test_another_choice_begins_with_its_own_defaults(
    below: dict[str, Any], choice: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = settings(below, choice)
    assert {key: found.get(key) for key in expected} == expected


def test_what_is_said_with_a_choice_holds_for_it() -> None:
    found = settings({"net": "mlp", "net.hidden": [5]}, {"net": "vit", "net.width": 12})
    assert (found["net.name"], found["net.width"]) == ("vit", 12)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([{"train.iterations": 5}, {"train.epochs": 2}], (None, 2.0)),
        ([{"epochs": 2}, {"iterations": 5}], (5, None)),
        ([{"train.epochs": 2}, {"train.iterations": None}], (None, 2.0)),
    ],
)
def test_the_later_length_counts(layers: list[dict[str, Any]], expected: Any) -> None:
    found = settings(*layers)
    assert (found["train.iterations"], found["train.epochs"]) == expected


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ({"weights": "mask", "weights.kind": "hyper"}, "weights.kind is given twice"),
        ({"generator.chunk": 5, "weights.generator.chunk": 6, "weights": "hyper"}, "chunk is given twice"),
        ({"weights": "hyper", "tail": "stored"}, "unknown key 'tail'"),
        ({"weights": "lora", "weights.norms": "shared"}, "unknown key 'weights.norms'"),
        (
            {"mask.sparsity": 5},
            "mask.sparsity=5: finetune with these weights has none; weights=mask brings one",
        ),
    ],
)
def test_an_option_of_another_kind_is_an_error(layer: dict[str, Any], text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        settings(layer)
