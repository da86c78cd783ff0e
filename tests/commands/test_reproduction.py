"""The page of all published figures beside ours."""

import pytest

from hypermnesia.commands.reproduction import page, steps
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments import recipes
from hypermnesia.experiments.build import build
from hypermnesia.experiments.recipes import Published, Recipe
from hypermnesia.experiments.resolve import resolve_recipe

CLASS, TASK = (f"scenarios.{name}.average_accuracy" for name in ("class", "task"))


def recipe(name: str, **more) -> Recipe:
    figures = (
        Published(metric=CLASS, value=0.8, std=0.01, tolerance=0.015, checked=True),
        Published(metric=TASK, value=0.9, tolerance=0.01),
    )
    given = {"benchmark": "split-digits", "approach": "finetune", "source": "a paper", "settings": {}}
    return Recipe(name=name, published=figures, seeds="0..9", **(given | more))


@pytest.fixture
def known(monkeypatch):
    """One recipe in the ledger, one not, without a single step trained."""
    found = {name: recipe(name, settings={"train.iterations": 60}) for name in ("run", "waiting")}
    monkeypatch.setattr(recipes, "all_recipes", lambda: found)


def entry(mean: object) -> dict:
    figures = {CLASS: {"mean": 0.83, "std": 0.002}, TASK: {"mean": mean, "std": "none"}}
    return {"run": {"full": {"seeds": [0, 1], "figures": figures}}}


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_every_figure_has_a_row_with_its_verdict(known):
    text = page(entry(0.8949))
    assert rows(text) == [
        "| `run` | class | 80.00 ± 1.00 | 83.00 ± 0.20 | +3.00 | 1.50 | 2 | above |",
        "| `run` | task | 90.00 † | 89.49 | −0.51 | 1.00 | 2 | reproduced |",
        "| `waiting` | class | 80.00 ± 1.00 | – | – | 1.50 | 10 | not run: 3.00 k steps |",
        "| `waiting` | task | 90.00 † | – | – | 1.00 | 10 | not run: 3.00 k steps |",
    ]
    assert "4 published figures: 1 reproduced, 1 above, 0 below, 0 undefined, 2 not run" in text
    assert "| below |" in page(entry(0.85)) and "| undefined |" in page(entry("none"))


def test_what_the_ledger_has_beside_the_recipes_is_told(known):
    assert "no recipe any more: gone" in page({"gone": {}})
    with pytest.raises(HypermnesiaError, match="the ledger's entry of run is damaged .*; remove it"):
        page({"run": {"full": {"seeds": [0]}}})


@pytest.mark.parametrize(
    ("approach", "settings"),
    [
        ("finetune", {"train.iterations": 7}),
        ("joint", {"train.iterations": 7}),
        ("joint", {"train.epochs": 2, "train.batch_size": 16}),
        ("er", {"train.epochs": 1.5, "train.batch_size": 500}),
    ],
)
def test_the_cost_is_the_steps_that_a_run_takes(monkeypatch, approach, settings):
    one = recipe("digits", approach=approach, settings={"net.hidden": [4], "train.threads": 1} | settings)
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"digits": one})
    run = build(resolve_recipe("digits"), 0)
    for _ in run:
        pass
    assert steps(one) == pytest.approx(run.records.steps, rel=0.02)
