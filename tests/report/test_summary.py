from typing import Any

import pytest

from hypermnesia import report
from hypermnesia.report.summary import Summary, summarise


def summary(runs: Any) -> Summary:
    return summarise(report.load([runs.root]).benchmarks[0])


def accuracy(runs: Any, value: float | None, scenario: str = "class", **more: Any) -> dict[str, Any]:
    return {scenario: {"matrix": [[value]], "average_accuracy": value, **more}}


def seeds(runs: Any, approach: str, values: list[float | None], first: int = 0, **more: Any) -> None:
    for seed, value in enumerate(values, start=first):
        runs.seed(approach, runs.result(approach, seed, scenarios=accuracy(runs, value), **more))


def test_rows_by_accuracy_with_bounds_in_place_but_never_best(runs: Any) -> None:
    for approach, value in (("er", 0.8), ("joint", 0.99), ("hnet", 0.9), ("finetune", 0.2)):
        seeds(runs, approach, [value, value])
    found = summary(runs)
    assert [row.group.label for row in found.rows] == ["joint", "hnet", "er", "finetune"]
    assert [row.bound for row in found.rows] == ["upper bound", None, None, "lower bound"]
    assert [row.is_best for row in found.rows] == [False, True, False, False]
    assert [found.wins(row, "class.average_accuracy") for row in found.rows] == [False, True, False, False]
    assert [row.look for row in found.rows] == [-1, 0, 1, -2]


def test_mean_and_interval_over_seeds(runs: Any) -> None:
    seeds(runs, "er", [0.8, 0.9, 1.0])
    found = summary(runs)
    # t(0.975, 2 degrees) = 4.3027; standard deviation 0.1 over the root of 3
    assert found.written(found.rows[0], "class.average_accuracy") == "90.00 ± 24.84"


def test_paired_difference_uses_common_seeds_on_the_same_stream(runs: Any) -> None:
    seeds(runs, "hnet", [0.90, 0.92, 0.97])
    seeds(runs, "er", [0.80, 0.84], first=0)
    seeds(runs, "ewc", [0.70, 0.72], first=2)
    best, er, ewc = summary(runs).rows
    assert best.is_best and best.difference is None
    assert er.difference is not None and er.difference["n"] == 2
    assert er.difference["mean"] == pytest.approx(-0.09)
    assert ewc.difference is None, "one common seed is no pair of pairs"


def test_seeds_on_other_streams_are_no_pairs(runs: Any) -> None:
    seeds(runs, "hnet", [0.90, 0.92, 0.97])
    seeds(runs, "other", [0.60, 0.61, 0.62], stream_sha256="another stream")
    assert [row.difference for row in summary(runs).rows] == [None, None]


def test_ties_as_shown_all_win_and_a_single_approach_wins_nothing(runs: Any) -> None:
    seeds(runs, "er", [0.90001])
    assert not summary(runs).wins(summary(runs).rows[0], "class.average_accuracy")
    seeds(runs, "hnet", [0.90002])
    found = summary(runs)
    assert [found.wins(row, "class.average_accuracy") for row in found.rows] == [True, True]


@pytest.mark.parametrize(
    ("ours", "theirs", "best"),
    [
        ([0.90, 0.70], [0.75, 0.74], False),  # one seed of the other is better than one of these
        ([0.90, 0.80], [0.75, 0.74], True),
        ([0.90, 0.80], [0.79], True),
        ([0.90, 0.80], [0.83], False),
        ([0.90, 0.70, 0.80], [0.75, 0.74, 0.76], True),  # three seeds are ranked by their means
    ],
)
def test_two_seeds_that_overlap_rank_nothing(
    runs: Any, ours: list[float], theirs: list[float], best: bool
) -> None:
    seeds(runs, "hnet", [*ours])
    seeds(runs, "er", [*theirs])
    found = summary(runs)
    assert [found.wins(row, "class.average_accuracy") for row in found.rows] == [best, False]
    assert ("no seed of another approach reaches" in " ".join(found.remarks)) == (len(theirs) < 3)


def test_one_seed_each_is_a_hint(runs: Any) -> None:
    seeds(runs, "hnet", [0.9])
    assert summary(runs).remarks == ()
    seeds(runs, "er", [0.8])
    assert summary(runs).remarks == ("One seed each: what is bold is a hint.",)


def test_less_forgetting_and_less_cost_win(runs: Any) -> None:
    for approach, forgetting, stored in (("er", 0.1, 5e6), ("hnet", 0.3, 1e3)):
        scenarios = accuracy(runs, 0.9, forgetting=forgetting, backward_transfer=-forgetting)
        runs.seed(approach, runs.result(approach, 0, scenarios=scenarios, costs={"stored_bytes": stored}))
    found = summary(runs)
    winners = {key: found.winners.get(("", key)) for key in found.main}
    assert winners == {
        "class.average_accuracy": "90.00",
        "class.forgetting": "10.00",
        "class.backward_transfer": "−10.00",
        "costs.stored_bytes": "1.00 kB",
    }


def test_the_primary_scenario_is_the_one_that_most_have(runs: Any) -> None:
    for approach, scenario in (("a", "task"), ("b", "task"), ("c", "class")):
        runs.seed(approach, runs.result(approach, 0, scenarios=accuracy(runs, 0.5, scenario)))
    assert summary(runs).primary == "task"
    runs.seed("d", runs.result("d", 0, scenarios=accuracy(runs, 0.5, "class")))
    assert summary(runs).primary == "class", "of several the hardest"


def test_an_accuracy_that_no_run_has_makes_no_column(runs: Any) -> None:
    seeds(runs, "er", [None])
    found = summary(runs)
    assert "class.average_accuracy" not in found.main
    assert "class.average_accuracy" not in found.rest
    assert "costs.train_seconds" in found.main


def test_metrics_between_task_ends_stand_with_the_rest(runs: Any) -> None:
    runs.run("er", seeds=2, **runs.insides())
    found = summary(runs)
    assert found.written(found.rows[0], "anytime.class.stability_gap") == "5.00 ± 0.00"
    assert "anytime.class.stability_gap" in found.rest


def test_what_is_small_by_construction_wins_nothing(runs: Any) -> None:
    for approach, forgetting, size in (("gdumb", 0.0, 3), ("er", 0.1, 5), ("hnet", 0.2, 0)):
        scenarios = accuracy(runs, 0.9, forgetting=forgetting)
        costs = {"stored_bytes": 100.0, "trainable_parameters": size}
        runs.seed(approach, runs.result(approach, 0, scenarios=scenarios, costs=costs))
    found = summary(runs)
    winning = {row.group.label: [key for key in found.main if found.wins(row, key)] for row in found.rows}
    assert [found.winners["", f"{of}"] for of in ("class.forgetting", "costs.trainable_parameters")] == [
        "10.00",
        "3",
    ]
    assert "class.forgetting" in winning["er"] and "class.forgetting" not in winning["gdumb"]
    assert "costs.trainable_parameters" not in winning["hnet"], "nothing is trained: a cost of 0 is no merit"
    told = "Forgetting of gdumb is small by construction (trained anew on its memory after each task) and wins nothing."
    assert found.remarks[1:] == (told,)
    runs.seed("fecam", runs.result("fecam", 0, scenarios=scenarios, costs={"steps": 0}))
    runs.seed("ranpac", runs.result("ranpac", 0, scenarios=scenarios), "[method]\nadapt = true\n")
    assert sorted(summary(runs).remarks[1:]) == [
        "Forgetting of fecam is small by construction (never trained) and wins nothing.",
        told,
        "Forgetting of ranpac is small by construction (never trained after the first task) and wins nothing.",
    ]


def test_times_of_different_machines_win_nothing(runs: Any) -> None:
    for approach, processor in (("er", "a"), ("hnet", "b")):
        directory = runs.seed(approach, runs.result(approach, 0))
        (directory / "environment.json").write_text(f'{{"processor": "{processor}"}}')
    found = summary(runs)
    assert ("", "costs.train_seconds") not in found.winners and ("", "costs.stored_bytes") in found.winners
    assert found.remarks[-1].startswith("Times were taken on different processors")


def test_with_weights_for_each_task_the_task_scenario_comes_first(runs: Any) -> None:
    kinds = {"hnet": "hyper", "hypermask": "mask", "er": "plain", "finetune": "plain"}
    for approach, kind in kinds.items():
        runs.seed(approach, runs.result(approach, 0), f'[weights]\nkind = "{kind}"\n')
    found = summary(runs)
    assert found.primary == "task" and found.main[:2] == ("task.average_accuracy", "class.average_accuracy")
    runs.seed("der", runs.result("der", 0), '[weights]\nkind = "plain"\n')
    assert summary(runs).primary == "class", "half of them are not most"
