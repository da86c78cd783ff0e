"""Embeddings that a task's samples decide: codes that are read from them, and starts (`generator.condition`)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Task
from hypermnesia.data.sources.stratify import first
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.model import Model, evaluating


def check(method: Method, models: Iterable[Model]) -> None:
    """Raise `HypermnesiaError` where an encoder would stay as it was drawn."""
    for model in models:
        reader = None if model.generator is None else model.generator.reader
        if reader is not None and reader.trunk is not None and not method.trains_reader:
            raise HypermnesiaError(
                "generator.condition=set: this method does not train what reads the tasks, so their codes would be random: "
                "take the approach meta-hnet, or generator.condition=prototypes"
            )


def begin(learner: Learner, task: Task) -> None:
    """Read the code of `task`, or let its embedding start as that of a similar task."""
    read(learner, task)
    for model in learner.models.values():
        if model.generator is not None and model.generator.answered is not None:
            _start_as_similar(learner, model, task)


def end(learner: Learner, task: Task) -> None:
    """Read the code of `task` again, for what reads may have been trained, and note how well its samples are answered."""
    read(learner, task)
    for model in learner.models.values():
        if model.generator is not None and model.generator.answered is not None:
            with torch.no_grad():
                own = _answered(model, *_support(learner, model, task), task.index)
                model.generator.answered[task.index].fill_(own)


def renew(learner: Learner, task: Task) -> None:
    """Read the code of `task` again where what reads is being trained, for who asks the network in the middle of the task."""
    if learner.method is not None and learner.method.trains_reader:
        read(learner, task)


@torch.no_grad()
def read(learner: Learner, task: Task) -> None:
    """Put the code of `task` into every generator that reads it from samples, as what reads is now.

    From the first `generator.support` training samples of each class, not augmented.
    """
    for model in learner.models.values():
        if model.generator is None or model.generator.reader is None or model.head is None:
            continue
        code = model.generator.reader(*_support(learner, model, task))
        model.generator.embeddings[task.index].copy_(code)


@torch.no_grad()
def _start_as_similar(learner: Learner, model: Model, task: Task) -> None:
    """Copy the rows of the earlier task whose network answers `task` best, beside its own, if it is enough."""
    generator = model.generator
    assert generator is not None and generator.answered is not None
    support = _support(learner, model, task)
    shares = [
        _answered(model, *support, j) / max(float(generator.answered[j]), 1e-6) for j in range(task.index)
    ]
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    if best is not None and shares[best] >= generator.alike:
        for _, rows in generator.task_rows():
            rows[task.index].copy_(rows[best])


def _support(learner: Learner, model: Model, task: Task) -> tuple[Tensor, Tensor]:
    """The samples that the generator is given of `task`, as the network sees them, and their positions among its outputs."""
    assert model.generator is not None and model.head is not None
    raw, y = task.train.batch(first(task.train.y, model.generator.support))
    return learner.preprocess(raw, None), model.head.targets(y, task.index)


@torch.no_grad()
def _answered(model: Model, x: Tensor, target: Tensor, by: int) -> float:
    """The share of samples x (n, …) to which the network of task `by` answers with the output `target` (n,), 0..1."""
    with evaluating(model):
        return (model(x, by).argmax(1) == target).double().mean().item()
