"""ER-ACE: replay in which the stream's own loss never pushes down the old classes that its batch does not hold."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import (
    MemoryOptions,
    Replay,
    empty_memory,
    forward,
    rehearse,
)

CLOSED = -1e9
"""Logit of a closed output: probability 0, gradient 0."""


@dataclass(frozen=True)
class ERACEState:
    """The memory, and which classes have come by."""

    memory: Memory
    seen: Tensor
    """(classes of the stream,) bool."""


@dataclass(frozen=True)
class ERACEDraw:
    """What is rehearsed, and which active outputs of the batch's task stand for classes that have come by."""

    replay: Replay
    seen: Tensor
    """(active outputs,) bool."""


@dataclass(frozen=True, kw_only=True)
class ERACE(ReplayMethod):
    """Asymmetric cross-entropy (Caccia et al. 2022, arXiv:2104.05025).

    L = CE(f(x) with old absent classes closed, y) + CE(f(x'), y'), x' a draw from memory with all outputs open. A
    class is old if it came by in an earlier step, absent if the batch holds no sample of it. In the first task
    there is neither mask nor replay, as in the authors' code, unless `task_free`.

    Differences: (1) classes that never came by stay open, which the authors' code means by leaving open all ids
    from the largest seen on; that also opens the largest seen class where it is absent, and assumes ascending ids.
    (2) The paper closes never-seen classes as well, its code does not; nor do we. (3) The authors' classifier takes
    cosines, which is a matter of the network: weights.classifier=cosine. (4) On weights that depend on the task, each
    remembered sample passes its own task's network, and only outputs of the batch's own task can be closed.
    """

    fills_at_task_end: ClassVar[bool] = True

    task_free: bool = False
    """Mask and rehearse in the first task too. Always so on a stream without task boundaries."""
    joint_forward: bool | None = None
    """Whether batch and draw pass the network together, which batch norm notices. none = unless it has batch norm."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir."""

    def init(self, learner: Learner) -> ERACEState:
        return ERACEState(empty_memory(learner, self.memory), learner.mask(()))

    def begin_task(self, state: ERACEState, learner: Learner) -> ERACEState:
        return ERACEState(state.memory, F.pad(state.seen, (0, learner.num_classes - len(state.seen))))

    def draw(
        self, state: ERACEState, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> ERACEDraw | None:
        if batch.task == 0 and learner.boundaries and not self.task_free:
            return None
        replay = rehearse(state.memory, learner, self.memory, rng)
        if replay is None:
            return None
        head, seen = learner.model.head, state.seen
        assert head is not None
        if head.kind != "shared":
            classes = torch.tensor(head.outputs(batch.task), device=seen.device)
            seen = seen[classes.clamp(min=0)] & (classes >= 0)  # −1: an output that stands for no class
        return ERACEDraw(replay, seen)

    def loss(self, net: Net, state: ERACEState, batch: Batch, draw: ERACEDraw | None) -> tuple[Tensor, Aux]:
        replays = [] if draw is None else [draw.replay]
        logits, replayed = forward(net, batch.x, batch.task, replays, self.joint_forward)
        if draw is None:
            value = F.cross_entropy(logits, batch.target)
            return value, Aux({"cross_entropy": value.detach()}, logits.detach())
        outputs = torch.arange(logits.shape[1], device=logits.device)
        present = (batch.target[:, None] == outputs).any(0)
        own = F.cross_entropy(torch.where(draw.seen & ~present, CLOSED, logits), batch.target)
        remembered = F.cross_entropy(replayed[0], draw.replay.target)
        terms = {"cross_entropy": own.detach(), "labels": remembered.detach()}
        return own + remembered, Aux(terms, logits.detach())

    def after_step(self, state: ERACEState, learner: Learner, step: Step, rng: torch.Generator) -> ERACEState:
        kept = super().after_step(state, learner, step, rng)
        return replace(kept, seen=state.seen.index_fill(0, step.batch.y, True))
