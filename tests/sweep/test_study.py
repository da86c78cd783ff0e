"""Optuna decides, and decides the same again."""

from statistics import median

import optuna
import pytest

from hypermnesia.evaluation.schema import Outcome
from hypermnesia.sweep.plan import Algorithm
from hypermnesia.sweep.space import parse_space
from hypermnesia.sweep.study import Numbered, Search

SPACE, _ = parse_space(
    ["a=uniform(0,1)", "b=uniform(0,1)", "n=int(1,9)", "c=[1],[2,3],none", "lr=log(1e-4,1)"]
)


def searching(
    storage=None, algorithm: Algorithm = "tpe", seed: int = 0, space=SPACE, owner=None, maximise=True
) -> Search:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = storage or optuna.storages.InMemoryStorage()
    return Search(storage, "s", space, Numbered(algorithm, space, seed), maximise, owner)


def outcome(settings, **more) -> Outcome:
    return Outcome(state="complete", value=settings["a"] - settings["b"], **more)


def sequence(search: Search, trials: int, lag: int) -> list[dict]:
    """The settings of `trials` trials of which `lag` run side by side."""
    asked = []
    for number in range(trials):
        if number >= lag:
            search.tell(number - lag, outcome(asked[number - lag]))
        asked.append(search.ask().settings)
    return asked


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_settings_follow_from_seed_number_and_results(algorithm):
    first = sequence(searching(algorithm=algorithm), 16, 2)
    assert first == sequence(searching(algorithm=algorithm), 16, 2)
    assert first != sequence(searching(algorithm=algorithm, seed=1), 16, 2)
    for settings in first:
        assert 0 <= settings["a"] <= 1 and 1e-4 <= settings["lr"] <= 1
        assert settings["n"] in range(1, 10) and settings["c"] in ([1], [2, 3], None)
    assert all(settings["a"] != settings["b"] for settings in first), "each setting is drawn for itself"


def test_random_settings_need_no_results():
    assert sequence(searching(algorithm="random"), 9, 1) == sequence(searching(algorithm="random"), 9, 9)


def test_tpe_learns_from_results():
    asked = sequence(searching(), 30, 1)
    early = sum(s["a"] - s["b"] for s in asked[:10]) / 10
    late = sum(s["a"] - s["b"] for s in asked[-10:]) / 10
    assert late > early + 0.3


def test_a_grid_comes_in_its_order_whatever_its_values():
    space, _ = parse_space(["x=1,true,1.0", "y=[1,2],[3]"])
    found = sequence_of_grid(searching(algorithm="grid", space=space), 6)
    assert [(repr(p["x"]), p["y"]) for p in found] == [
        (x, y) for x in ("1", "True", "1.0") for y in ([1, 2], [3])
    ]


def sequence_of_grid(search: Search, points: int) -> list[dict]:
    return [search.ask().settings for _ in range(points)]


def test_another_process_goes_on_as_the_first_would_have():
    whole = sequence(searching(), 16, 2)
    storage = optuna.storages.InMemoryStorage()
    sequence(searching(storage), 13, 2)
    again = searching(storage)
    assert [(t.number, t.settings) for t in again.unfinished()] == [(11, whole[11]), (12, whole[12])]
    rest = []
    for number in (11, 12, 13):
        again.tell(number, outcome(again.unfinished()[0].settings))
        rest.append(again.ask().settings)
    assert rest == whole[13:]


def test_a_trial_that_was_begun_and_got_no_settings_gets_its_own():
    expected = sequence(searching(algorithm="random"), 2, 2)
    storage = optuna.storages.InMemoryStorage()
    search = searching(storage, "random")
    study = optuna.load_study(study_name="s", storage=storage)
    study.ask()
    study.ask({"a": optuna.distributions.FloatDistribution(0, 1)})
    first, second = search.unfinished()
    assert (first.number, second.number, first.settings) == (0, 1, expected[0])
    assert second.settings["b"] == expected[1]["b"]


def test_trials_of_other_machines_are_left_alone():
    storage = optuna.storages.InMemoryStorage()
    here, there = searching(storage, owner="here"), searching(storage, owner="there")
    here.ask((None, 0.5))
    there.ask()
    assert [(trial.number, trial.bars) for trial in here.unfinished()] == [(0, (None, 0.5))]
    assert here.others_running() == there.others_running() == 1 and here.count() == 2
    there.tell(1, Outcome(state="failed", reason="no luck", seconds=2.0))
    assert here.others_running() == 0
    assert [(r.state, r.reason, r.seconds) for r in here.records({})] == [
        ("running", None, None),
        ("failed", "no luck", 2.0),
    ]


def test_bars_are_medians_of_complete_trials():
    search = searching(algorithm="random")
    rows = [(0.9, 0.8, None), (0.8, 0.7, 0.1), (0.7, 0.9, 0.3), (0.6, 0.5, 0.2), (0.5, 0.4, 0.4)]
    for number, row in enumerate(rows):
        assert search.bars(3) == (None, None, None), "four trials are too few"
        search.ask()
        search.tell(number, Outcome(state="complete", value=0.0, scores=row))
    for state in ("pruned", "failed"):
        search.tell(search.ask().number, Outcome(state=state, scores=(0.0, 0.0, 0.0)))
    assert search.bars(3) == (median(r[0] for r in rows), median(r[1] for r in rows), None)


def test_records_tell_what_was_not_told_yet():
    search = searching(algorithm="random")
    trial = search.ask()
    [running] = search.records({})
    assert (running.state, running.value) == ("running", None)
    [finished] = search.records({trial.number: Outcome(state="complete", value=0.5, seconds=3.0)})
    assert (finished.settings, finished.value, finished.state, finished.seconds) == (
        trial.settings,
        0.5,
        "complete",
        3.0,
    )
    search.tell(trial.number, Outcome(state="pruned", reason="behind", scores=(0.25,)))
    [told] = search.records({})
    assert (told.state, told.value, told.reason) == ("pruned", None, "behind"), "a pruned trial has no value"
