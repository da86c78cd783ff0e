"""Recipes held against what was published, and the ledger."""

import pytest

from hypermnesia.commands.reproduce import Figure, matching, read_ledger, record, reproduce
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.statistics import statistics
from hypermnesia.experiments import recipes
from hypermnesia.experiments.recipes import Published, Recipe

ACCURACY, FORGETTING = "scenarios.task.average_accuracy", "scenarios.task.forgetting"


def figure(metric: str, value: float, measured: list[float | None], expected: float | None) -> Figure:
    return Figure(Published(metric=metric, value=value, tolerance=0.01), statistics(measured), expected)


@pytest.mark.parametrize(
    ("metric", "measured", "verdict"),
    [
        (ACCURACY, [0.895, 0.885], "reproduced"),
        (ACCURACY, [0.889], "below"),
        (ACCURACY, [0.91], "reproduced"),
        (ACCURACY, [0.99], "above"),
        (ACCURACY, [None], "undefined"),
        (FORGETTING, [0.911], "above"),
        (FORGETTING, [0.0], "below"),
    ],
)
def test_a_difference_on_either_side_is_one(metric, measured, verdict):
    """A figure better than the published one shows another experiment as much as a worse one does."""
    found = figure(metric, 0.9, measured, 0.9)
    assert (found.verdict, found.within) == (verdict, verdict == "reproduced")


def test_what_cannot_be_compared_is_neither_within_nor_not():
    apart = figure(ACCURACY, 0.9, [0.5], None)
    assert apart.within is None and apart.difference == pytest.approx(-0.4)
    assert figure(ACCURACY, 0.9, [0.5], 0.5).within is True  # the recipe's own expectation of a short run


def recipe(**more) -> Recipe:
    given = {
        "name": "digits",
        "benchmark": "split-digits",
        "approach": "finetune",
        "source": "a paper",
        "settings": {"train.iterations": 4, "train.threads": 1},
        "short": {"train.iterations": 2},
        "seeds": "0..1",
        "published": (
            Published(metric=ACCURACY, value=0.5, tolerance=0.5),
            Published(metric=FORGETTING, value=0.0, tolerance=1.0),
        ),
    }
    return Recipe(**(given | more))


@pytest.fixture
def offer(monkeypatch):
    """offer(recipe) makes it the only one that there is."""
    return lambda one: monkeypatch.setattr(recipes, "all_recipes", lambda: {one.name: one})


def test_a_recipe_that_is_met(offer, tmp_path):
    offer(recipe())
    done = reproduce("digits", out=tmp_path)
    assert done.passed and done.seeds == (0, 1), "all seeds of the recipe"
    assert [f.measured["n"] for f in done.figures] == [2, 2]
    assert (tmp_path / "seed-1" / "result.json").exists()


def test_seeds_may_train_as_one_program(offer, tmp_path):
    offer(recipe())
    record(reproduce("digits", out=tmp_path / "runs", stacked="on"), tmp_path / "ledger.toml")
    assert read_ledger(tmp_path / "ledger.toml")["digits"]["full"]["stacked"] is True


def test_a_recipe_that_is_missed(offer, tmp_path):
    offer(recipe(published=(Published(metric=ACCURACY, value=1.0, tolerance=0.01),)))
    done = reproduce("digits", seeds=[5], out=tmp_path)
    assert not done.passed and done.seeds == (5,)
    [missed] = done.figures
    assert missed.difference is not None and missed.difference < -0.01


def test_a_short_budget_is_not_comparable_unless_the_recipe_says_what_it_gives(offer, tmp_path):
    far = Published(metric=ACCURACY, value=1.0, tolerance=0.01)
    offer(recipe(published=(far,)))
    done = reproduce("digits", "short", out=tmp_path / "a")
    assert done.seeds == (0,) and done.passed
    assert [f.within for f in done.figures] == [None]
    expected = Published(metric=ACCURACY, value=1.0, tolerance=0.01, short=1.0)
    offer(recipe(published=(expected,)))
    assert not reproduce("digits", "short", out=tmp_path / "b").passed


def test_budgets_are_different_runs(offer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    offer(recipe())
    full, short = reproduce("digits", seeds=[0]), reproduce("digits", "short", seeds=[0])
    assert full.directory != short.directory
    assert full.directory.parts[:2] == ("runs", "split-digits")


@pytest.mark.parametrize(
    ("name", "budget", "change", "fault"),
    [
        ("digit", "full", {}, "unknown recipe 'digit'; did you mean 'digits'?"),
        ("digits", "long", {}, "unknown budget 'long'; known: full, short"),
        ("digits", "full", {"published": ()}, "the recipe digits has no published figure"),
        ("digits", "full", {"settings": {"train.iterations": "x"}}, "train.iterations: expected integer"),
        (
            "digits",
            "full",
            {"published": (Published(metric="scenarios.x", value=1, tolerance=0),)},
            "a result has no figure 'scenarios.x'",
        ),
    ],
)
def test_bad_input_is_told(offer, tmp_path, name, budget, change, fault):
    offer(recipe(**({"settings": {"train.iterations": 1, "train.threads": 1}} | change)))
    with pytest.raises(HypermnesiaError) as error:
        reproduce(name, budget, seeds=[0], out=tmp_path / "run")
    assert fault in str(error.value)


def test_the_ledger_keeps_one_entry_for_each_recipe_and_budget(offer, tmp_path):
    offer(recipe())
    path = tmp_path / "docs" / "results.toml"
    full, short = reproduce("digits", out=tmp_path / "a"), reproduce("digits", "short", out=tmp_path / "b")
    for done in (full, short, full):
        record(done, path)
    ledger = read_ledger(path)
    assert set(ledger) == {"digits"} and set(ledger["digits"]) == {"full", "short"}
    entry = ledger["digits"]["full"]
    assert entry["passed"] is True and entry["seeds"] == [0, 1] and entry["device"] == "cpu"
    assert entry["processor"] and entry["threads"] >= 1 and entry["versions"]["torch"]
    assert entry["date"].count("-") == 2
    measured = full.figures[0].measured
    assert entry["figures"][ACCURACY] == {
        "published": 0.5,
        "tolerance": 0.5,
        "mean": measured["mean"],
        "std": measured["std"],
        "verdict": "reproduced",
    }
    assert entry["steps"] == 2 * 5 * 4 and entry["seconds"] > 0, "of both seeds"
    assert entry["platform"] and entry["commit"] != "none"
    assert ledger["digits"]["short"]["figures"][ACCURACY]["verdict"] is None
    assert ledger["digits"]["short"]["figures"][ACCURACY]["std"] is None
    assert path.read_text().startswith("# What `hypermnesia reproduce")


def test_a_ledger_that_cannot_be_used_is_told(tmp_path, offer):
    assert read_ledger(tmp_path / "none.toml") == {}
    (tmp_path / "bad.toml").write_text("[")
    with pytest.raises(HypermnesiaError, match="bad.toml is not valid TOML"):
        read_ledger(tmp_path / "bad.toml")
    with pytest.raises(HypermnesiaError, match="the ledger .* cannot be read"):
        read_ledger(tmp_path)
    offer(recipe())
    done = reproduce("digits", seeds=[0], out=tmp_path / "run")
    (tmp_path / "odd.toml").write_text("digits = 1")
    with pytest.raises(HypermnesiaError, match="digits is no table"):
        record(done, tmp_path / "odd.toml")
    with pytest.raises(HypermnesiaError, match="cannot write the ledger"):
        record(done, tmp_path / "bad.toml" / "x.toml")


def test_patterns_name_every_recipe_with_figures_once(monkeypatch):
    known = {name: recipe(name=name) for name in ("a-er-200", "a-er-500", "b-er-200")}
    known["a-er-none"] = recipe(name="a-er-none", published=())
    monkeypatch.setattr(recipes, "all_recipes", lambda: known)
    assert matching(["a-*"]) == ("a-er-200", "a-er-500")
    assert matching(["*-200", "a-er-200", "a-er-none"]) == ("a-er-200", "b-er-200", "a-er-none")
    with pytest.raises(HypermnesiaError, match=r"no recipe with published figures is called 'c-\*'"):
        matching(["c-*"])
    with pytest.raises(HypermnesiaError, match="unknown recipe 'a-er'"):
        matching(["a-er"])
