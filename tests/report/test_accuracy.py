import json
from typing import Any

import numpy as np
import pytest
from report.conftest import make_result

from hypermnesia import report
from hypermnesia.evaluation.metrics import average_accuracy
from hypermnesia.evaluation.schema import Result
from hypermnesia.report import accuracy
from hypermnesia.report.summary import summarise


def test_mean_matrix_is_over_those_that_have_the_entry() -> None:
    mean = accuracy.mean_matrix([((1.0, None), (0.5, None)), ((0.0, None), (None, 0.25))])
    assert mean == [[0.5, None], [0.5, 0.25]]


def test_averages_agree_with_the_metric_on_every_prefix() -> None:
    rng = np.random.default_rng(0)
    full = np.tril(rng.random((5, 5)))
    matrix = tuple(
        tuple(float(v) if j <= i else None for j, v in enumerate(row)) for i, row in enumerate(full)
    )
    slow = [average_accuracy([row[: t + 1] for row in matrix[: t + 1]]) for t in range(5)]
    assert accuracy._averages(matrix) == pytest.approx(slow)


def test_averages_are_undefined_while_a_task_is_absent() -> None:
    assert accuracy._averages(((0.9, None), (None, 0.8))) == [0.9, None]
    assert accuracy._averages(((None, None), (0.6, 0.8))) == [None, pytest.approx(0.7)]
    assert accuracy._averages(((0.6, 0.8, None),)) == [pytest.approx(0.7)], "not square: what is present"


def test_tests_of_classes_that_are_as_many_as_tasks_are_not_the_tasks() -> None:
    told = make_result("a", 0, tasks=2) | {"class_names": ["p", "q"]}
    assert accuracy.names_of_tests(Result.model_validate_json(json.dumps(told)), 2) == [
        "digits 0, 1",
        "digits 2, 3",
    ]
    told["scenarios"] = {"class": told["scenarios"]["class"] | {"missing_class_accuracy": None}}
    result = Result.model_validate_json(json.dumps(told))
    assert result.tests_are_classes and accuracy.names_of_tests(result, 2) == ["p", "q"]
    assert accuracy._averages(((0.9, 0.1), (0.4, 0.8)), by_class=True) == [0.5, pytest.approx(0.6)]


def test_joint_training_stands_where_the_tasks_end_and_not_the_classes() -> None:
    told = make_result("joint", 0, tasks=2) | {"class_names": ["p", "q", "r"]}
    assert accuracy._tasks(Result.model_validate_json(json.dumps(told)), ((0.5, 0.6, 0.7),)) == 2
    assert (
        accuracy._tasks(Result.model_validate_json(json.dumps(told | {"task_names": []})), ((0.5, 0.6, 0.7),))
        == 3
    )


def test_names() -> None:
    names = {"task_names": ["x", "y"], "class_names": ["p", "q", "r"]}
    result = Result.model_validate_json(json.dumps(make_result("a", 0) | names))
    assert accuracy.names_of_tasks(result, 2) == ["x", "y"]
    assert accuracy.names_of_tasks(result, 2, numbered=True) == ["1 · x", "2 · y"]
    assert accuracy.names_of_tasks(result, 4) == ["task 1", "task 2", "task 3", "task 4"]
    assert accuracy.names_of_tests(result, 3) == ["p", "q", "r"], "one test per class"


def test_sections(full: Any) -> None:
    summary = summarise(report.load([full.root]).benchmarks[0])
    times = accuracy.over_time(summary)
    assert [figure.title for figure in times.blocks[0].figures] == ["Class-incremental", "Task-incremental"]
    assert [key.name for key in times.blocks[0].keys] == [row.group.label for row in summary.rows]
    matrices = accuracy.matrices(summary)
    assert [block.collapsed for block in matrices.blocks] == [False, True]
    assert [figure.title for figure in matrices.blocks[0].figures] == [
        row.group.label for row in summary.rows
    ]
    lines = accuracy.per_task(summary)
    assert "joint" not in [figure.title for figure in lines.blocks[0].figures], "one row has no course"
    numbers = accuracy.numbers(summary)
    assert [block.title for block in numbers.blocks] == ["Average accuracy", "Forgetting", "Cost"]


@pytest.mark.parametrize(("seconds", "axis"), [(40, "(s)"), (400, "(min)"), (40_000, "(h)")])
def test_time_has_a_fitting_unit(runs: Any, seconds: float, axis: str) -> None:
    runs.run("er", seeds=1, costs={"train_seconds": seconds})
    summary = summarise(report.load([runs.root]).benchmarks[0])
    (cost,) = accuracy.numbers(summary).blocks[-1].figures
    assert f"training time {axis}</text>" in cost.picture


def test_costs_far_apart_are_logarithmic(runs: Any) -> None:
    for approach, stored in (("er", 1e3), ("hnet", 1e6)):
        runs.run(approach, seeds=1, costs={"stored_bytes": stored})
    summary = summarise(report.load([runs.root]).benchmarks[0])
    (cost,) = accuracy.numbers(summary).blocks[-1].figures
    assert "stored, logarithmic</text>" in cost.picture
