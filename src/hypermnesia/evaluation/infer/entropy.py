"""Inference by entropy: the task whose network is least uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import TaskScores, all_logits, chosen, entropy
from hypermnesia.methods.learner import Learner


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """argmin_j H(softmax f(x; w_j)), the first on ties (HNET+ENT of von Oswald et al. 2020,
    arXiv:1906.00695).

    Stores nothing. It is the default, and the only one that a model without task-specific weights may carry:
    there it is never asked.
    """

    def init(self, learner: Learner) -> None:
        return None

    def end_task(self, state: None, learner: Learner, task: Task) -> None:
        return None

    def scores(self, state: None, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        logits = all_logits(learner, overlays, x)
        uncertainty = torch.stack([entropy(of_task) for of_task in logits])  # (T, B)
        return chosen(uncertainty.argmin(0), logits)
