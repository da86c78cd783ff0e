"""Experience replay: train on the batch and on remembered samples at once. The baseline that every memory must beat."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay.rehearsal import (
    MemoryOptions,
    Replay,
    ReplayState,
    empty_memory,
    joint_logits,
    rehearse,
    remember,
)


@dataclass(frozen=True, kw_only=True)
class ER(Method):
    """Cross-entropy, one mean over the batch and m remembered samples (Ratcliff 1990; Riemer et al. 2019,
    arXiv:1810.11910).

    L = 1/(B+m) · Σ CE(f(x), y) over batch and draw, in one forward pass, with all active outputs open; as the
    code of DER's authors (Mammoth).

    Differences: (1) on weights that depend on the task, each remembered sample passes its own task's network and
    its cross-entropy runs over that task's outputs.
    """

    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir, as many samples rehearsed as the batch holds."""

    def init(self, learner: Learner) -> ReplayState:
        return ReplayState(empty_memory(learner, self.memory))

    def draw(self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator) -> Replay | None:
        return rehearse(state.memory, learner, self.memory, rng)

    def loss(self, net: Net, state: ReplayState, batch: Batch, draw: Replay | None) -> tuple[Tensor, Aux]:
        if draw is None:
            value = F.cross_entropy(net(batch.x, batch.task), batch.target)
        else:
            logits = joint_logits(net, batch.x, batch.task, draw)
            value = F.cross_entropy(logits, torch.cat([batch.target, draw.target]))
        return value, Aux({"cross_entropy": value.detach()})

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        return ReplayState(remember(state.memory, step.batch, rng))
