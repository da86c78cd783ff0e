"""Inference by the largest logit: all tasks' classes as one classifier."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import TaskScores, all_logits, check, chosen
from hypermnesia.methods.learner import Learner


@dataclass(frozen=True, kw_only=True)
class Logit:
    """argmax_j max_c f(x; w_j)_c, the first on ties.

    Right where the rows of all tasks' classifiers were made to compete, as by a hypernetwork that writes each class's row
    from that class alone and was trained over episodes; elsewhere nothing makes their scales alike.
    """

    def init(self, learner: Learner) -> None:
        check("logit", learner)

    def end_task(self, state: None, learner: Learner, task: Task) -> None:
        return None

    def scores(self, state: None, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        logits = all_logits(learner, overlays, x)
        return chosen(torch.stack([of_task.max(1).values for of_task in logits]).argmax(0), logits)
