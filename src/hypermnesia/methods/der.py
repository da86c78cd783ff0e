"""Dark experience replay (Buzzega et al. 2020, arXiv:2004.07211): the network is held to the logits that it gave when a
remembered sample went by; DER++ to the samples' labels as well.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.core.fitting import fitting
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.methods.replay.method import LogitReplay, ReplayMethod
from hypermnesia.methods.replay.rehearsal import (
    MemoryOptions,
    Replay,
    ReplayState,
    Several,
    forward,
    rehearse_each,
    squared_error,
)


@dataclass(frozen=True, kw_only=True)
class DER(LogitReplay):
    """L = CE(f(x), y) + alpha · MSE(f(x'), z') (Buzzega et al. 2020, arXiv:2004.07211).

    z' are the logits of the training forward in which x' came by, before that step's update; the memory holds x'
    un-augmented and every draw augments it afresh, as in the published code. MSE is the mean over samples and
    outputs, where the paper writes a squared norm: alpha is in the code's scale.

    Differences from the published code: (1) networks without batch statistics take the batch and the draw in one
    forward, which gives the same loss; (2) on weights that depend on the task, each remembered sample passes its
    own task's network and is compared on that task's outputs.
    """

    fills_at_task_end: ClassVar[bool] = True
    term: ClassVar[str] = "logits"

    alpha: NotNegative = 0.3
    """Weight of the remembered logits, ≥ 0. Published 0.1 to 1; 0.3 for split CIFAR-10 at every memory size."""
    joint_forward: bool | None = None
    """Whether batch and draw pass the network together, which batch norm notices. none = unless it has batch norm."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir."""

    def distance(self, logits: Tensor, draw: Replay) -> Tensor:
        return squared_error(logits, draw)


Draws = Several | list[Replay]
"""The draw compared by logits and the one compared by labels; empty while the memory is."""


@dataclass(frozen=True, kw_only=True)
class DERPP(ReplayMethod):
    """L = CE(f(x), y) + alpha · MSE(f(x'), z') + beta · CE(f(x''), y'') (Buzzega et al. 2020, arXiv:2004.07211).

    x' and x'' are two independent draws. z' are the logits of the training forward in which x' came by, before that
    step's update. MSE is the mean over samples and outputs: alpha is in the published code's scale, not the paper's.

    Differences from the published code: (1) networks without batch statistics take all three in one forward, which
    gives the same loss; (2) on weights that depend on the task, each remembered sample passes its own task's
    network and is compared on that task's outputs.
    """

    fills_at_task_end: ClassVar[bool] = True
    keeps_logits: ClassVar[bool] = True
    tells_numbers: ClassVar[bool] = True

    alpha: NotNegative = 0.1
    """Weight of the remembered logits, ≥ 0. Published 0.1 to 1; 0.1 for split CIFAR-10 with 200 samples."""
    beta: NotNegative = 0.5
    """Weight of the remembered labels, ≥ 0. Published 0.5 or 1; 0.5 for split CIFAR-10 with 200 samples."""
    joint_forward: bool | None = None
    """Whether batch and draws pass the network together, which batch norm notices. none = unless it has batch norm."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir."""

    def draw(self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator) -> Draws:
        return rehearse_each(state.memory, learner, self.memory, rng, 2)

    def loss(self, net: Net, state: ReplayState, batch: Batch, draw: Draws) -> tuple[Tensor, Aux]:
        replays = list(draw)
        logits, replayed = forward(net, batch.x, batch.task, replays, self.joint_forward)
        name, distance = fitting(batch.target)
        value = distance(logits, batch.target)
        terms = {name: value.detach()}
        if replays:
            remembered = self.alpha * squared_error(replayed[0], replays[0])
            labelled = self.beta * distance(replayed[1], replays[1].target)
            terms |= {"logits": remembered.detach(), "labels": labelled.detach()}
            value = value + remembered + labelled
        return value, Aux(terms, logits.detach())
