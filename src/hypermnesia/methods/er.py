"""Experience replay: train on the batch and on remembered samples at once. The baseline that every memory must beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.methods.learner import Learner, Step
from hypermnesia.methods.replay import loss_aware
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, ReplayState


@dataclass(frozen=True, kw_only=True)
class ER(ReplayMethod):
    """Cross-entropy, one mean over the batch and m remembered samples (Ratcliff 1990; Riemer et al. 2019,
    arXiv:1810.11910).

    L = 1/(B+m) · Σ CE(f(x), y) over batch and draw, in one forward pass, with all active outputs open; as the
    code of DER's authors (Mammoth).

    Differences: (1) on weights that depend on the task, each remembered sample passes its own task's network and
    its cross-entropy runs over that task's outputs.
    """

    fills_at_task_end: ClassVar[bool] = True
    tells_numbers: ClassVar[bool] = True
    policies: ClassVar[tuple[str, ...]] = ("lars",)

    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir, as many samples rehearsed as the batch holds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory.policy == "lars" and self.memory.fill == "task":
            raise HypermnesiaError(
                "er: memory.policy=lars goes by the losses of each step: take memory.fill=step, or another policy"
            )

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        if self.memory.policy != "lars":
            return super().after_step(state, learner, step, rng)
        batch, draw, count = step.batch, step.draw, len(step.batch.y)
        target = batch.target if draw is None else torch.cat([batch.target, draw.target])
        assert step.aux.logits is not None
        losses = F.cross_entropy(step.aux.logits.float(), target, reduction="none")
        slots = None if draw is None else draw.index
        kept = loss_aware.remember(state.memory, batch, losses[:count], slots, losses[count:], rng)
        return ReplayState(kept)
