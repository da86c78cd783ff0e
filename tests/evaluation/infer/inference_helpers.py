"""A learner whose three tasks have networks of their own, and what an inference has stored of them."""

from collections.abc import Callable
from typing import Any

import torch
from methods.regularisation_helpers import learner_on, make_task
from torch import Tensor

from hypermnesia.core.tensors import Tensors
from hypermnesia.evaluation.infer import Inference
from hypermnesia.methods.learner import Learner


def three_tasks() -> Learner:
    """Generated weights, three tasks, in evaluation mode."""
    learner = learner_on("hyper", tasks=3)
    learner.model.eval()
    return learner


def finished(inference: Inference, learner: Learner, tasks: int = 3) -> Any:
    """The inference's state after the first `tasks` tasks."""
    state = inference.init(learner)
    for task in range(tasks):
        state = inference.end_task(state, learner, make_task(task))
    return state


def overlays(learner: Learner, tasks: int = 3) -> list[Tensors]:
    with torch.no_grad():
        return [learner.model.overlay(task) for task in range(tasks)]


def assert_nearest(learner: Learner, inference: Any, distance: Callable[[Tensor, int, int], float]) -> None:
    """The inference's guesses and answers for some inputs are those of the least `distance`(x (1, …), task, class)."""
    x = some_inputs(learner)
    found = inference.scores(finished(inference, learner), learner, overlays(learner), x)
    for i in range(len(x)):
        one = x[i : i + 1]
        distances = {
            (task, local): distance(one, task, label)
            for task in range(3)
            for local, label in enumerate(make_task(task).classes)
        }
        task, local = min(distances, key=distances.__getitem__)
        if inference.mode == "task":
            local = int(learner.model(one, task).argmax())
        assert (int(found.guess[i]), int(found.local[i])) == (task, local)


def some_inputs(learner: Learner, size: int = 7) -> Tensor:
    """Test images of all tasks."""
    raw = torch.cat([make_task(task).train.batch(torch.arange(10))[0] for task in range(3)])
    return learner.preprocess(
        raw[torch.randperm(30, generator=torch.Generator().manual_seed(0))[:size]], None
    )


def slow_features(learner: Learner, x: Tensor, task: int) -> Tensor:
    """What the classifier sees of each sample, through the plain network with the task's weights loaded."""
    state = learner.model.task_state(task)
    hidden = torch.nn.functional.linear(x.flatten(1), state["layer.0.weight"], state["layer.0.bias"])
    return hidden.tanh()
