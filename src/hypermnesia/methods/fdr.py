"""FDR, function distance regularisation: the network's answers on remembered samples stay near those that it gave when
their task ended (Benjamin, Rolnick & Kording 2019, arXiv:1805.08289).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.data import Task
from hypermnesia.methods.learner import Learner, Step
from hypermnesia.methods.replay.method import LogitReplay
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay, ReplayState, with_answers


@dataclass(frozen=True, kw_only=True)
class FDR(LogitReplay):
    """L = CE(f(x), y) + alpha · 1/m Σ ‖softmax f(x') − softmax z'‖₂ (Benjamin et al. 2019, arXiv:1805.08289).

    z' are the logits of x' at the end of its task, in evaluation mode and without augmentation; the m draws are augmented
    afresh. The distance is that of DER's authors' code: a norm for each sample, between probabilities.

    Differences from that code: (1) it takes a second optimizer step on the distance alone, which leaves alpha unused;
    here both terms make one loss. (2) All samples of a finished task are offered to the memory, so that its policy
    decides which stay: with the reservoir each sample of all finished tasks is as likely as any other. (3) On weights
    that depend on the task, each remembered sample passes its own task's network and is compared on that task's outputs.
    """

    term: ClassVar[str] = "distance"

    alpha: NotNegative = 1.0
    """Weight of the distance, ≥ 0. Published 0.2 to 1."""
    joint_forward: bool | None = None
    """Whether batch and draw pass the network together, which batch norm notices. none = unless it has batch norm."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory, written at the end of each task."""

    def distance(self, logits: Tensor, draw: Replay) -> Tensor:
        assert draw.logits is not None
        return distance(logits, draw.logits)

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        return state

    def end_task(self, state: ReplayState, learner: Learner, task: Task, rng: torch.Generator) -> ReplayState:
        return ReplayState(with_answers(state.memory, learner, task, rng))


def distance(logits: Tensor, remembered: Tensor) -> Tensor:
    """Mean over rows of the Euclidean distance of their probabilities; both (m, outputs). At distance 0 its gradient is 0."""
    return torch.linalg.vector_norm(logits.softmax(1) - remembered.softmax(1), dim=1).mean()
