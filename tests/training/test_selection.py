"""Choosing a task's model by its validation part, and lowering the learning rate when that stalls."""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest
import small
import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import load
from hypermnesia.data.options import StreamOptions
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone, TaskEnded
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.selection import Selection, accuracy_of, looked
from hypermnesia.training.stackable import why_apart

BEST = TrainOptions(iterations=12, batch_size=4, select="best_validation", look_every=3)
PLATEAU = OptimizerOptions(lr=0.5, schedule="plateau", gamma=0.5, patience=1)


def stream() -> Any:
    return load(
        "split-digits",
        options=StreamOptions(tasks=2, classes_per_task=2, validation=0.2, samples_per_task=40),
    )


def run(train: TrainOptions = BEST, optimizer: OptimizerOptions | None = None, weights: Any = "hyper") -> Fit:
    return small.run(
        stream(), weights, train=train, net=wide, optimizer=optimizer or OptimizerOptions(lr=0.3)
    )


def wide(outputs: int) -> torch.nn.Module:
    layer = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Tanh())
    stages = OrderedDict(flatten=torch.nn.Flatten(), layer=layer, head=torch.nn.Linear(8, outputs))
    return torch.nn.Sequential(stages)


@pytest.mark.parametrize("weights", ["hyper", "mask", "plain"])
def test_a_task_ends_with_its_best_model(weights: Any) -> None:
    """Twin: the same run without a choice, looked at from outside after every third step, as it then was."""
    seen: dict[int, list[tuple[float, dict[str, Tensor]]]] = {0: [], 1: []}
    free = run(replace(BEST, select="last"), weights=weights)
    for event in free:
        if isinstance(event, StepDone) and event.step % 3 == 0 and event.task == 0:
            task = free.stream.tasks[event.task]
            found = {n: v.detach().clone() for n, v in free.learner.model.stored().items()}
            seen[event.task].append((accuracy_of(free.learner, task, free.evaluation), found))
    accuracies = [accuracy for accuracy, _ in seen[0]]
    best = seen[0][accuracies.index(max(accuracies))][1]  # the first of equals
    assert weights == "mask" or best is not seen[0][-1][1]  # or there would be nothing to choose
    chosen = run(weights=weights)
    for event in chosen:
        if isinstance(event, TaskEnded):
            own = chosen.learner.model.stored()
            assert all(torch.equal(own[name], value) for name, value in best.items())
            break


def test_the_rate_falls_when_accuracy_has_stalled() -> None:
    state, rates = Selection(TrainOptions(iterations=1), PLATEAU, EvaluateOptions()), []
    for accuracy in (0.5, 0.6, 0.6, 0.5, 0.6, 0.4, 0.7, 0.1):
        state = looked_without_model(state, accuracy)
        rates.append(PLATEAU.gamma**state.lowered)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert state.best == 0.7


def looked_without_model(state: Selection, accuracy: float) -> Selection:
    return looked(state, accuracy, torch.nn.Module())  # pyright: ignore


def test_a_plateau_lowers_the_optimizers_rate_and_a_new_task_starts_anew() -> None:
    train = TrainOptions(iterations=12, batch_size=4, look_every=1)
    fit, rates = run(train, PLATEAU), {0: [], 1: []}
    for event in fit:
        if isinstance(event, StepDone):
            rates[event.task].append(fit.optimizers["main"].param_groups[0]["lr"])
    assert rates[0][0] == rates[1][0] == 0.5 and rates[0][-1] < 0.5
    assert why_apart([fit, fit]) == "each run's learning rate follows its own validation accuracy"


def test_a_resumed_run_chooses_as_an_uninterrupted_one() -> None:
    train = replace(BEST, look_every=2)
    whole = run(train, PLATEAU)
    small.all_of([whole])
    for stop in (1, 5, 12, 15):
        first = run(train, PLATEAU)
        for event in first:
            if isinstance(event, StepDone) and event.total_steps == stop:
                break
        resumed = run(train, PLATEAU)
        checkpoint.restore(resumed, *checkpoint.capture(first))
        small.all_of([resumed])
        for name, value in whole.learner.model.stored().items():
            assert torch.equal(resumed.learner.model.stored()[name], value), (stop, name)


def test_there_must_be_something_to_look_at() -> None:
    text = "train.select=best_validation looks at each task's validation part, and this stream has none: set stream"
    with pytest.raises(HypermnesiaError, match=text):
        small.run(train=BEST)
    with pytest.raises(HypermnesiaError, match="optimizer.schedule=plateau looks at"):
        small.run(optimizer=PLATEAU)
    with pytest.raises(HypermnesiaError, match="unknown train.select 'best'"):
        TrainOptions(iterations=1, select="best")  # pyright: ignore


def test_accuracy_with_the_task_given_is_among_its_classes() -> None:
    fit = run(weights="plain")
    learner, task = fit.learner, fit.stream.tasks[1]
    with torch.no_grad():
        dict(learner.model.named_parameters())["target.head.bias"].copy_(torch.tensor([9.0, 9.0, 0.0, 0.0]))
    assert (
        task.classes == (2, 3) and accuracy_of(learner, task, fit.evaluation) > 0.2
    )  # of four classes none is right
