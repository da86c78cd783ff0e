"""Guessing which task an input belongs to, for weights that differ from task to task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hypermnesia.method import Learner
from hypermnesia.streams import Task
from hypermnesia.tensors import Tensors


@dataclass(frozen=True)
class TaskScores:
    """What an inference says of B samples."""

    guess: Tensor
    """(B,) int64: the task each sample is taken for."""
    local: Tensor
    """(B,) int64: the answer, as a position among that task's active outputs."""


class Inference(Protocol):
    """A way to infer the task. Stateless ones ignore `state`; others gather statistics at each task's end."""

    def init(self, learner: Learner) -> Any:
        """First state: a dataclass of tensors and numbers, or None."""
        ...

    def end_task(self, state: Any, learner: Learner, task: Task) -> Any:
        """State after a task, whose training part may be read for the last time."""
        ...

    def scores(self, state: Any, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        """Guess among the tasks learned so far, for a batch `x` (B, …); `overlays` holds each task's weights."""
        ...


def all_logits(learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> list[Tensor]:
    """Logits (B, active outputs) of every task learned so far, in task order."""
    return [learner.model.call(overlay, x, task) for task, overlay in enumerate(overlays)]


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits) over the last axis; finite for saturated logits (0·log 0 = 0)."""
    log_p = torch.log_softmax(logits.float(), -1)
    return torch.special.entr(log_p.exp()).sum(-1)


@dataclass(frozen=True)
class Entropy:
    """The task whose network is least uncertain: argmin_j H(softmax f(x; w_j)) (von Oswald et al. 2019, HNET+ENT)."""

    def init(self, learner: Learner) -> None:
        return None

    def end_task(self, state: None, learner: Learner, task: Task) -> None:
        return None

    def scores(self, state: None, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        logits = all_logits(learner, overlays, x)
        uncertainty = torch.stack([entropy(of_task) for of_task in logits])  # (T, B)
        return chosen(uncertainty.argmin(0), logits)


def chosen(guess: Tensor, logits: list[Tensor]) -> TaskScores:
    """The answer of each sample's guessed task: `guess` (B,), `logits` one (B, outputs) per task."""
    answers = torch.stack([of_task.argmax(1) for of_task in logits])  # (T, B)
    return TaskScores(guess, answers.gather(0, guess[None])[0])


INFERENCES: dict[str, type] = {"entropy": Entropy}
"""Every way to infer the task, by its name on the command line: a dataclass of its options."""
