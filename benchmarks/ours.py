"""Our side of the rows: a run placed at the start of any task, and its steps one at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.data import Stream, from_tensors, permuted, split
from hypermnesia.methods.base import Method
from hypermnesia.nets import MLPOptions
from hypermnesia.training import determinism
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.step import Stepper, StepRequest
from hypermnesia.weights.build import model_for
from hypermnesia.weights.options import Kind, Weights

ENDLESS = 10**9
"""Iterations per task: no row reaches a task's end."""


def settle() -> None:
    """The settings of torch that training has, for the whole process: both sides run under them."""
    determinism.keep_freed_memory()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def images(
    count: int, classes: int, shape: tuple[int, ...] = (1, 28, 28)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images (uint8) and labels, every class as often as the others."""
    x = torch.randint(256, (count, *shape), generator=generator(0, "images"), dtype=torch.uint8)
    return x, torch.arange(count) % classes


def split_stream(tasks: int, classes: int, each: int = 64, shape: tuple[int, ...] = (1, 28, 28)) -> Stream:
    """Tasks of `classes` classes with `each` random images per class."""
    x, y = images(tasks * classes * each, tasks * classes, shape)
    return split(from_tensors(x, y, x[: tasks * classes], y[: tasks * classes]), tasks=tasks)


def permuted_stream(tasks: int, each: int = 64, pad: int = 2) -> Stream:
    """Permuted random images of ten classes, padded to 32 × 32 as the hypernetwork papers do."""
    x, y = images(10 * each, 10)
    return permuted(from_tensors(x, y, x, y), tasks=tasks, pad=pad)


def mlp(*hidden: int) -> Callable[[Stream], Callable[[int], nn.Module]]:
    """A perceptron for the images of a stream."""
    return lambda stream: lambda outputs: MLPOptions(hidden=hidden).build(stream.shape, outputs)


class Placed:
    """A run at the start of task `task`, the earlier ones gone through without training; each call is one step."""

    def __init__(
        self,
        stream: Stream,
        net: Callable[[Stream], Callable[[int], nn.Module]],
        method: Method,
        weights: Weights | Kind = "plain",
        writer: Any = None,
        task: int = 0,
        batch_size: int = 32,
        optimizer: OptimizerOptions | None = None,
        **train: Any,
    ) -> None:
        settle()
        options = TrainOptions(iterations=ENDLESS, batch_size=batch_size, **train)
        model = model_for(stream, net(stream), weights, writer)
        self.run = run = Fit(model, stream, method, options, optimizer)
        for earlier in range(task):
            run.learner.task = earlier
            run.grow(model)
            model.trainable()
            run.learner.state = method.begin_task(run.learner.state, run.learner)
            run.learner.state = method.end_task(
                run.learner.state, run.learner, stream.tasks[earlier], run.rngs["method"]
            )
        run.position = replace(run.position, task=task)
        self._stepper = Stepper(method, options, run.learner.device)
        self._items = run.advance()
        self()

    def __call__(self) -> None:
        for item in self._items:
            if isinstance(item, StepRequest):
                self._stepper.take(item)
            elif isinstance(item, StepDone):
                return
