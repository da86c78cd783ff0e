import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.build import build
from hypermnesia.experiments.recipes import Recipe
from hypermnesia.sweep.plan import Problem, SweepOptions, check, plan
from hypermnesia.sweep.space import parse_space


def problem(*fixed: str, **options) -> Problem:
    return Problem("split-digits", "er", fixed, SweepOptions(**options))


def checked(*words: str, approach: str = "er") -> None:
    space, fixed = parse_space(words)
    check(Problem("split-digits", approach, tuple(fixed), SweepOptions()), space)


def test_trials_hold_a_validation_part_back_and_the_winner_does_not():
    found = problem("train.iterations=7")
    settings = {"optimizer.lr": 0.5}
    trial, final = found.trial(settings), found.final(settings)
    assert trial.sections["stream"].validation == 0.1 and final.sections["stream"].validation is None
    for cfg in (trial, final):
        assert cfg.sections["optimizer"].lr == 0.5 and cfg.sections["train"].iterations == 7
    said = problem("stream.validation=0.3")
    assert said.trial({}).sections["stream"].validation == 0.3
    assert said.final({}).sections["stream"].validation is None


def test_a_winner_that_looks_at_a_validation_part_keeps_it():
    for words, held in (
        (["train.select=best_validation"], 0.1),
        (["optimizer.schedule=plateau", "validation=0.3"], 0.3),
    ):
        found = problem(*words)
        assert (
            found.trial({}).sections["stream"].validation
            == found.final({}).sections["stream"].validation
            == held
        )


def test_trials_of_a_recipe_hold_back_what_it_says():
    recipe = Recipe(
        name="r", benchmark="split-digits", approach="er", source="s", settings={"stream.validation": 0.25}
    )
    assert (
        Problem("split-digits", "er", (), SweepOptions(), recipe).trial({}).sections["stream"].validation
        == 0.25
    )


def test_first_tasks_ends_the_stream_of_the_trials_alone():
    found = problem(protocol="first-tasks", first_tasks=2)
    assert len(build(found.trial({}), sealed=True).stream.tasks) == 2
    assert len(build(found.final({})).stream.tasks) == 5


def test_transfer_tunes_on_the_other_benchmark():
    found = problem(protocol="transfer", transfer="permuted-digits")
    assert found.trial({}).benchmark == "permuted-digits" and found.final({}).benchmark == "split-digits"


def test_a_recipe_is_the_start_of_trials_and_winner():
    recipe = Recipe(
        name="r", benchmark="split-digits", approach="er", source="s", settings={"optimizer.lr": 0.25}
    )
    found = Problem("split-digits", "er", (), SweepOptions(), recipe)
    assert found.trial({}).sections["optimizer"].lr == found.final({}).sections["optimizer"].lr == 0.25


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lrr=0.1,0.2"], "unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
        (["optimizer.lr=0.1,x"], "optimizer.lr: expected number"),
        (
            ["train.batch_size=int(0,8)"],
            "train.batch_size: expected integer >= 1 and <= 1000000, got integer 0",
        ),
        (["net=mlp,lenett"], "unknown net 'lenett'"),
        (["seeds.order=1,2"], "seeds.order cannot be searched over: it decides what chance brings"),
        (["stream.seed=1,2"], "stream.seed cannot be searched over: it decides what the problem is"),
        (["samples_per_task=10,20"], "samples_per_task cannot be searched over"),
        (["evaluate.samples=10,20"], "evaluate.samples cannot be searched over: it decides how results"),
    ],
)
def test_bad_settings_are_found_before_anything_starts(words, said):
    with pytest.raises(HypermnesiaError) as error:
        checked(*words)
    assert said in str(error.value)


def test_settings_that_exclude_each_other_are_told_with_the_trial():
    with pytest.raises(HypermnesiaError) as error:
        checked("net=mlp,lenet", "net.hidden=[10],[20]")
    assert "in the trial net=lenet net.hidden=[10]; search apart what does not go" in str(error.value)


def planned(*words: str, benchmark: str = "split-digits", recipe: Recipe | None = None, **options):
    return plan(benchmark, "er", words, SweepOptions(**options), recipe)


def test_a_plan_knows_what_is_tried_and_judged():
    found = planned("optimizer.lr=log(1e-3,1)", "train.iterations=5", trials=7)
    assert (found.algorithm, found.trials, found.tasks, found.prunes, found.adaptive) == (
        "tpe",
        7,
        5,
        True,
        True,
    )
    assert found.objective.path == "validation.scenarios.class.average_accuracy"
    assert found.judged() == [False, False, True, True, False]
    assert planned("optimizer.lr=0.1,1", seeds=(0, 1)).judged() == [False, False, True, True, False] * 2
    grid = planned("optimizer.lr=0.1,1")
    assert not grid.prunes and not grid.adaptive
    assert grid.default_directory.parts[:2] == ("runs", "split-digits")
    assert grid.default_directory.name == f"er-sweep-{grid.sha256[:8]}"


def test_the_number_of_trials_is_no_part_of_a_search_and_the_rest_is():
    words = "optimizer.lr=log(1e-3,1)"
    assert planned(words, trials=7).sha256 == planned(words, trials=8).sha256
    assert planned(words, trials=7).sha256 != planned(words, trials=7, seed=1).sha256


def test_a_plan_refuses_what_no_trial_could_do():
    with pytest.raises(HypermnesiaError, match="there is nothing to search: give a setting several values"):
        planned("optimizer.lr=0.1")
    with pytest.raises(
        HypermnesiaError, match="unknown benchmark 'split-digit'; did you mean 'split-digits'"
    ):
        planned("optimizer.lr=0.1,1", benchmark="split-digit")
    with pytest.raises(
        HypermnesiaError, match="first_tasks=5: the benchmark has 5 tasks, so none would be left"
    ):
        planned("optimizer.lr=0.1,1", protocol="first-tasks", first_tasks=5)
    with pytest.raises(HypermnesiaError, match="unknown benchmark 'nowhere'"):
        planned("optimizer.lr=0.1,1", protocol="transfer", transfer="nowhere")


def test_words_replace_settings_of_the_published_grid():
    search = {"optimizer.lr": [0.1, 1], "memory.size": [20, 50, 100], "train.batch_size": [8]}
    recipe = Recipe(name="r", benchmark="split-digits", approach="er", source="s", settings={}, search=search)
    assert planned(recipe=recipe).trials == 6
    found = planned("memory.size=30", recipe=recipe)
    assert list(found.space) == ["optimizer.lr"]
    assert found.problem.fixed == ("train.batch_size=8", "memory.size=30")
