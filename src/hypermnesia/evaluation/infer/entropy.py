"""Inference by entropy: the task whose network is least uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import (
    TaskScores,
    all_logits,
    chosen,
    entropy,
    first_task,
    train_logits,
)
from hypermnesia.methods.learner import Learner


@dataclass(frozen=True)
class Scales:
    """How far the logits of every finished task lie apart."""

    gaps: tuple[Tensor, ...]
    """One scalar per task: mean gap between the two largest logits, over its training samples at its end."""


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """argmin_j H(softmax f(x; w_j)), the first on ties (HNET+ENT of von Oswald et al. 2020,
    arXiv:1906.00695).

    It is the default, and the only one that a model without task-specific weights may carry: there it is never
    asked.
    """

    calibrate: bool = False
    """Whether each task's logits are first brought to one scale: multiplied by g / g_j, g_j the mean gap between a
    sample's two largest logits over the task's training samples at its end, g the mean of all g_j. Published: false, and
    no term of any loss makes the scales alike. Stores a number for each task."""

    def init(self, learner: Learner) -> Scales | None:
        return Scales(()) if self.calibrate else None

    def end_task(self, state: Scales | None, learner: Learner, task: Task) -> Scales | None:
        if state is None or not learner.model.depends_on_task:
            return state
        logits = train_logits(learner, task)
        if logits.shape[1] < 2:  # of one class its network is always certain
            return replace(state, gaps=(*state.gaps, logits.new_ones(())))
        largest = logits.topk(2, 1).values
        return replace(state, gaps=(*state.gaps, (largest[:, 0] - largest[:, 1]).mean()))

    def scores(
        self, state: Scales | None, learner: Learner, overlays: Sequence[Tensors], x: Tensor
    ) -> TaskScores:
        if state is None:
            logits = all_logits(learner, overlays, x)
        elif not state.gaps:
            return first_task(learner, overlays, x)
        else:
            logits = all_logits(learner, overlays[: len(state.gaps)], x)
            mean = torch.stack(state.gaps).mean()
            logits = [z.float() * (mean / gap) for z, gap in zip(logits, state.gaps, strict=True)]
        uncertainty = torch.stack([entropy(of_task) for of_task in logits])  # (T, B)
        return chosen(uncertainty.argmin(0), logits)
