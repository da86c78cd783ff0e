"""Features under one task's weights: what the classifier of the target sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hypermnesia.hyper.model import Model, evaluating
from hypermnesia.method import Learner
from hypermnesia.nets.stages import classifier_inputs
from hypermnesia.streams import Task
from hypermnesia.tensors import Tensors

_CHUNK = 1000  # samples per forward pass


@dataclass(frozen=True)
class ClassFeatures:
    """The features of one class's training samples under its task's weights."""

    local: int
    """Position of the class among the task's active outputs."""
    features: Tensor
    """(n, d)"""


def features(model: Model, overlay: Tensors, x: Tensor, task: int) -> tuple[Tensor, Tensor]:
    """(features (B, d), logits (B, active outputs)) of `x` (B, …), with `task`'s weights given in
    `overlay`."""
    with classifier_inputs(model.target) as seen:
        logits = model.call(overlay, x, task)
    return seen[-1].float(), logits


def by_class(learner: Learner, task: Task) -> list[ClassFeatures]:
    """The features of all training samples of `task`, class by class: in evaluation mode, not augmented."""
    model, found, labels = learner.model, [], []
    with torch.no_grad(), evaluating(model):
        overlay = model.overlay(task.index)
        for positions in torch.arange(len(task.train)).split(_CHUNK):
            raw, y = task.train.batch(positions)
            found.append(features(model, overlay, learner.preprocess(raw, None), task.index)[0])
            labels.append(learner.targets(y, task.index))
    everything, local = torch.cat(found), torch.cat(labels)
    return [ClassFeatures(k, everything[local == k]) for k in local.unique().tolist()]
