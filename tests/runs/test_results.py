"""What result.json says: its keys, and which tests count for which task."""

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import small
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import slots, with_validation
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.evaluation.statistics import statistics
from hypermnesia.experiments.resolve import Config, resolve
from hypermnesia.methods.combine import combine
from hypermnesia.methods.er import ER
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.runs.results import _peak_memory, costs, read_figure, result_of, seen_tests, summary_of
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.options import Mask, Plain

METRICS = [
    "matrix",
    "average_accuracy",
    "average_incremental_accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
    "learning_accuracy",
]
COSTS = [
    "trainable_parameters",
    "target_parameters",
    "stored_bytes",
    "train_seconds",
    "steps",
    "steps_per_second",
    "peak_memory_bytes",
]


def config() -> Config:
    return resolve("split-digits", "finetune")


def trained(**options: Any) -> Fit:
    run = small.run(**options)
    small.all_of([run])
    return run


def test_the_keys_are_those_that_were_promised() -> None:
    run = trained(weights="hyper", method=combine(Finetune(), Drift()))
    result = result_of(run, config(), 4)
    assert list(result) == [
        "format",
        "benchmark",
        "approach",
        "seed",
        "config_sha256",
        "stream_sha256",
        "scenarios",
        "costs",
        "class_names",
        "task_names",
        "infer",
        "embeddings",
    ]
    assert list(result["scenarios"]) == ["task", "class", "domain"]
    assert all(list(found) == METRICS for found in result["scenarios"].values())
    assert [key for key in result["costs"] if key != "generator_parameters"] == COSTS
    assert (result["benchmark"], result["approach"], result["seed"]) == ("split-digits", "finetune", 4)
    assert result["stream_sha256"] == run.stream.sha256
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_optional_keys() -> None:
    stream = with_validation(small.split_stream(), 0.25, 0)
    memory = ER(memory=MemoryOptions(size=8, batch_size=4))
    result = result_of(
        trained(stream=stream, method=memory, evaluation=EvaluateOptions(steps=2)), config(), 0
    )
    assert list(result["validation"]["scenarios"]) == ["task", "class"]
    assert set(result["anytime"]["task"]) == {
        "average_anytime_accuracy",
        "worst_case_accuracy",
        "stability_gap",
    }
    assert sum(result["memory"]["classes"].values()) == 8
    assert "infer" not in result
    masks = result_of(trained(weights="mask"), config(), 0)["masks"]
    assert {len(shares) for shares in masks["sparsity"].values()} == {3}
    assert [row[i] for i, row in enumerate(masks["overlap"])] == [1.0, 1.0, 1.0]


def test_the_numbers_are_those_of_the_records() -> None:
    run = trained(weights="hyper", train=TrainOptions(iterations=20))
    result = result_of(run, config(), 0)
    matrix = run.records.rows["task"]
    assert result["scenarios"]["task"]["matrix"] == matrix
    assert result["scenarios"]["task"]["average_accuracy"] == pytest.approx(sum(matrix[2]) / 3)  # pyright: ignore[reportArgumentType]
    transfer = metrics.forward_transfer(matrix, run.records.baseline["task"])
    assert result["scenarios"]["task"]["forward_transfer"] == transfer is not None
    assert result["scenarios"]["class"]["forward_transfer"] is None


# ---------------------------------------------------------------------------------------------- which tests count


def test_one_test_for_each_task() -> None:
    assert seen_tests(small.run()) is None


def test_joint_training_has_seen_everything() -> None:
    stream = small.split_stream()
    joined = stream.joined()
    run = Fit(small.model(joined), joined, Finetune(), TrainOptions(iterations=30), tested_on=stream)
    small.all_of([run])
    assert seen_tests(run) == seen_tests(run, validation=True) == [[0, 1, 2]]
    result = result_of(run, config(), 0)["scenarios"]["class"]
    assert result["average_accuracy"] == pytest.approx(sum(run.records.rows["class"][0]) / 3)  # pyright: ignore[reportArgumentType]
    assert result["forgetting"] is None


def test_where_classes_return_those_met_so_far_count() -> None:
    stream = slots(small.source(4), tasks=3, classes_per_task=2, seed=1)
    run = small.run(stream)
    met = [set(stream.tasks[0].classes)]
    for task in stream.tasks[1:]:
        met.append(met[-1] | set(task.classes))
    assert seen_tests(run) == [sorted(classes) for classes in met]
    assert len(met[0]) < 4


def test_validation_parts_are_those_of_the_tasks() -> None:
    """On a stream whose tests go by class there are fewer, or more, of them than tests."""
    stream = with_validation(slots(small.source(4), tasks=3, classes_per_task=3), 0.25, 0)
    assert len(stream.tests) != len(stream.tasks)
    run = trained(stream=stream, sealed=True, evaluation=EvaluateOptions(steps=2))
    result = result_of(run, config(), 0)
    found = result["validation"]["scenarios"]["class"]
    assert [len(row) for row in found["matrix"]] == [3, 3, 3]
    assert found["average_accuracy"] == pytest.approx(sum(found["matrix"][2]) / 3)
    assert result["anytime"]["class"]["average_anytime_accuracy"] is not None
    assert result["scenarios"] == {}


# --------------------------------------------------------------------------------------------------------- costs


def costs_of(run: Fit) -> dict[str, Any]:
    return costs(run.learner, run.records)


def test_parameters_are_counted() -> None:
    """16·8 + 8 + 8·6 + 6 = 190 of a plain network; rows of three tasks of 16·8 + 8 + 8·2 + 2 = 154."""
    found = costs_of(trained())
    assert (found["trainable_parameters"], found["target_parameters"]) == (190, 190)
    assert found["stored_bytes"] == 4 * 190
    found = costs_of(trained(weights=Plain(per_task=("*",))))
    assert (found["trainable_parameters"], found["target_parameters"]) == (3 * 154, 154)
    run = trained(weights="hyper")
    generator = run.learner.model.generator
    assert generator is not None
    found = costs_of(run)
    assert found["trainable_parameters"] == sum(p.numel() for p in generator.parameters())
    assert found["target_parameters"] == 154
    assert found["generator_parameters"] == found["trainable_parameters"]
    assert "generator_parameters" not in costs_of(trained())
    run = trained(weights=Mask(base_trainable="never"))
    own = {name: p.numel() for name, p in run.learner.model.named_parameters()}
    apart = sum(n for name, n in own.items() if not name.startswith("target."))
    assert costs_of(run)["trainable_parameters"] == apart < sum(own.values())


def test_what_is_remembered_counts_as_stored() -> None:
    plain = costs_of(trained())["stored_bytes"]
    memory = costs_of(trained(method=ER(memory=MemoryOptions(size=8))))["stored_bytes"]
    assert plain is not None and memory is not None
    assert memory - plain == 8 * (16 + 8 + 8)  # image, label and task of each slot


def test_times() -> None:
    run = trained()
    found = costs_of(run)
    assert found["steps"] == 15
    assert found["steps_per_second"] == pytest.approx(15 / run.records.seconds)
    run.records = replace(run.records, seconds=0.0)
    assert costs_of(run)["steps_per_second"] is None
    assert isinstance(found["peak_memory_bytes"], int) and found["peak_memory_bytes"] > 2**20


# --------------------------------------------------------------------------------------------------------- summary


def test_a_summary_over_seeds() -> None:
    results = []
    for seed in range(3):
        optimizer = OptimizerOptions(name="sgd", lr=0.1)
        run = trained(seed=seed, optimizer=optimizer, train=TrainOptions(iterations=10))
        results.append(result_of(run, config(), seed))
    summary = summary_of(results)
    assert list(summary) == ["benchmark", "approach", "config_sha256", "seeds", "scenarios", "costs"]
    assert summary["seeds"] == [0, 1, 2]
    values = [result["scenarios"]["task"]["average_accuracy"] for result in results]
    assert summary["scenarios"]["task"]["average_accuracy"] == statistics(values)
    assert "matrix" not in summary["scenarios"]["task"]
    assert summary["scenarios"]["class"]["forward_transfer"] == {
        "mean": None,
        "std": None,
        "ci95": None,
        "n": 0,
    }
    assert summary["costs"]["steps"]["mean"] == 30


def test_figures_by_their_paths() -> None:
    result = result_of(trained(), config(), 0)
    assert read_figure(result, "costs.steps") == 15
    assert read_figure(result, "scenarios.class.forward_transfer") is None
    with pytest.raises(
        HypermnesiaError, match="no figure 'costs.stpes': there is no 'stpes'; there is: trainable_"
    ):
        read_figure(result, "costs.stpes")
    with pytest.raises(HypermnesiaError, match="'scenarios' is no number in a result"):
        read_figure(result, "scenarios")


def test_macos_tells_memory_in_bytes(monkeypatch) -> None:
    here = _peak_memory(torch.device("cpu"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert here / 1024 <= _peak_memory(torch.device("cpu")) < here / 500
