"""Answers by the nearest mean of what is remembered of each class, in the space of the network's features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.replay.buffer import Memory, herd
from hypermnesia.weights.model import evaluating

CHUNK = 500
"""Samples per forward pass outside training; changes no result beyond rounding."""


def features(learner: Learner, x: Tensor, task: int) -> Tensor:
    """(B, d) inputs of the classifier, float32, of length 1."""
    found, _ = Net(learner.model).features(x, task)
    return F.normalize(found.float())


def herded(memory: Memory, learner: Learner, task: Task) -> Memory:
    """The memory with the exemplars of a finished task, whose mean features come nearest to its classes'."""
    raw, y = task.train.batch(torch.arange(len(task.train)))
    with torch.no_grad(), evaluating(learner.model):
        found = [features(learner, learner.preprocess(r, None), task.index) for r in raw.split(CHUNK)]
    return herd(memory, raw, y, task.index, None, torch.cat(found))


def class_means(memory: Memory, learner: Learner, mirrors: bool) -> Tensors:
    """Task (as text; "shared" where all tasks share their weights) → (active outputs, d) unit means of the features of what
    is remembered, with `mirrors` of their mirror images as well; zero for classes without a sample. By the current weights."""
    y, raw, owner = memory.y[: memory.filled], memory.x[: memory.filled], memory.task[: memory.filled]
    if not learner.model.depends_on_task:
        return {"shared": _means(raw, y, learner, learner.task, mirrors)}
    means = {}
    for task in sorted(memory.tasks()):
        rows = (owner == task).nonzero().flatten().to(y.device)
        means[str(task)] = _means(raw[rows], y[rows], learner, task, mirrors)
    return means


def _means(raw: Tensor, y: Tensor, learner: Learner, task: int, mirrors: bool) -> Tensor:
    head = learner.model.head
    assert head is not None
    sums: Tensor | None = None
    for chunk, labels in zip(raw.split(CHUNK), y.split(CHUNK), strict=True):
        x = learner.preprocess(chunk, None)
        found = features(learner, x, task)
        if mirrors:
            found = found + features(learner, x.flip(-1), task)
        if sums is None:
            sums = found.new_zeros(len(head.outputs(task)), found.shape[1])
        sums = sums.index_add(0, head.targets(labels, task), found)
    assert sums is not None
    return F.normalize(sums)


def nearness(means: Tensors, learner: Learner, x: Tensor, task: int) -> Tensor | None:
    """Minus the squared distances to the class means, −∞ for classes without one; (B, active outputs). None where the task
    has no means."""
    own = means.get(str(task) if learner.model.depends_on_task else "shared")
    if own is None:
        return None
    distance = 2 - 2 * features(learner, x, task) @ own.T  # both of length 1
    return torch.where(own.any(1), -distance, -torch.inf)
