"""Inference by prototypes: the task of the nearest class mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Checked
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import TaskScores, by_class, check, chosen, features, first_task
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.body import through_body

Mode = Literal["class", "task"]
"""class: the nearest class is the answer. task: it only names the task, whose network then answers."""


@dataclass(frozen=True)
class Prototypes:
    """Of every finished task, as its network was at the task's end."""

    means: tuple[Tensor, ...]
    """One (C, d) per task: class means of L2-normalised features, normalised again."""
    local: tuple[Tensor, ...]
    """One (C,) int64 per task: the classes' positions among the task's active outputs."""


@dataclass(frozen=True, kw_only=True)
class NearestClass(Checked):
    """An inference that takes each sample for the class that is nearest among those of all finished tasks."""

    mode: Mode = "class"
    """class: the nearest class is the answer. task: it only names the task, whose network then answers."""

    def distances(self, state: Any, task: int, z: Tensor) -> Tensor:
        """(B, C) squared distances of the features z (B, d), under a task's weights, to that task's classes."""
        raise NotImplementedError

    def scores(self, state: Any, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        if not state.means:
            return first_task(learner, overlays, x)
        distances, logits = [], []
        x, after = through_body(learner.model, x)
        for task, overlay in enumerate(overlays[: len(state.means)]):
            z, of_task = features(learner.model, overlay, x, task, **after)
            distances.append(self.distances(state, task, z))
            logits.append(of_task)
        return nearest(distances, state.local, logits, self.mode)


@dataclass(frozen=True, kw_only=True)
class Prototype(NearestClass, section="prototype"):
    """argmin_j min_c ‖z_j − μ_jc‖: z_j the normalised features of x under task j's weights, μ_jc the mean of
    class c there (nearest class mean as in iCaRL, arXiv:1611.07725, with a feature space for every task)."""

    def init(self, learner: Learner) -> Prototypes:
        check("prototype", learner)
        return Prototypes((), ())

    def end_task(self, state: Prototypes, learner: Learner, task: Task) -> Prototypes:
        groups = by_class(learner, task)
        means = torch.stack([F.normalize(F.normalize(group.features).mean(0), dim=0) for group in groups])
        local = torch.tensor([group.local for group in groups], device=means.device)
        return Prototypes((*state.means, means), (*state.local, local))

    def distances(self, state: Prototypes, task: int, z: Tensor) -> Tensor:
        return 2 - 2 * F.normalize(z) @ state.means[task].T


def nearest(
    distances: Sequence[Tensor], local: Sequence[Tensor], logits: Sequence[Tensor], mode: Mode
) -> TaskScores:
    """The task, and the answer, of the least distance.

    For every task, in order: squared `distances` (B, C), `local` (C,) and `logits` (B, outputs). Where the nearest class is
    the answer, a class scores minus half of its distance: the logarithm of a normal density of unit variance.
    """
    least = [of_task.min(1) for of_task in distances]
    guess = torch.stack([found.values for found in least]).argmin(0)  # (B,)
    if mode == "task":
        return chosen(guess, logits)
    classes = torch.stack([of_task[found.indices] for of_task, found in zip(local, least, strict=True)])
    scores = []
    for found, outputs, of_task in zip(distances, local, logits, strict=True):
        own = torch.full_like(of_task, -torch.inf, dtype=found.dtype)
        own[:, outputs] = -found / 2
        scores.append(own)
    return TaskScores(guess, classes.gather(0, guess[None])[0], tuple(scores), comparable=True)
