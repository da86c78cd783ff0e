"""GDumb: keep a balanced memory while the stream goes by, then train a fresh network on the memory alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Count, Fraction, Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Step
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.rehearsal import Block, MemoryOptions, Remembered, Replay, ReplayState


@dataclass(frozen=True)
class Mix:
    """One CutMix: a rectangle of every image is taken from another image of the batch (Yun et al. 2019)."""

    partner: Tensor
    """(B,) int64: the row that each row's rectangle comes from."""
    patch: Tensor
    """(H, W) bool: the rectangle."""
    own: Tensor
    """Scalar in 0..1: share of pixels, and of the label, that stay a row's own."""

    def images(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → mixed (B, C, H, W)."""
        return torch.where(self.patch, x[self.partner], x)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy with the two labels in proportion to their pixels."""
        theirs = F.cross_entropy(logits, target[self.partner])
        return self.own * F.cross_entropy(logits, target) + (1 - self.own) * theirs


@dataclass(frozen=True)
class GDumbDraw:
    """Random choices of a step on the memory."""

    mix: Mix | None
    replay: Replay | None
    """Samples to learn from in place of the batch, task by task, on weights that depend on the task."""


@dataclass(frozen=True, kw_only=True)
class GDumb(Method):
    """Greedy sampler and dumb learner (Prabhu et al. 2020): how far a memory alone goes, without continual learning.

    The stream is shown once and nothing trains; the memory keeps equal shares of the classes met. After the last
    task (or after each, with `every_task`) the network starts from its initial parameters and trains on the memory
    for `epochs`, by cross-entropy with CutMix. Until then the network is untrained, and so are the accuracies.
    The paper clips gradients to a norm of 10 (`train.clip`, which the approach sets).

    Differences: (1) classes get equal shares of a uniform sample each (`memory.policy`), where the paper's sampler
    evicts from the largest class and always takes the newcomer, and Mammoth's uses a plain reservoir. (2) The
    learning rate falls in one half cosine from `optimizer.lr` to 0, in place of cosine restarts of 1, 2, 4, …
    epochs between 0.05 and 0.0005, whose last cycle is half of all epochs. (3) No early stopping. (4) On weights
    that depend on the task, a step trains on a random draw by task in place of a batch of the memory's epoch, and
    parameters that belong to an earlier task alone (its embedding, its stored rows) keep the values they have.
    """

    epochs: Positive = 256.0
    """Passes over the memory, > 0. Published: 256."""
    batch_size: Count = 16
    """Samples per step on the memory, ≥ 1. Published: 16."""
    every_task: bool = False
    """Train after every task, each time from the start, and not after the last one only."""
    cutmix: Fraction | None = None
    """Probability that a batch is mixed, 0..1; the mixing share is uniform. none = as published: 0.5 for images in
    colour, 0 for grey ones (MNIST) and for what is no image."""
    optimizer: OptimizerOptions = OptimizerOptions(
        name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-6, schedule="cosine"
    )
    """Optimizer of the training on the memory. Published: SGD, 0.05 at most, momentum 0.9, weight decay 1e-6."""
    memory: MemoryOptions = MemoryOptions(policy="class-balanced")
    """The memory."""

    def init(self, learner: Learner) -> ReplayState:
        if self.cutmix and len(learner.shape) != 3:
            raise HypermnesiaError(
                f"gdumb.cutmix={self.cutmix} mixes images (C, H, W), but samples have the shape {learner.shape}: "
                "set gdumb.cutmix=0"
            )
        return ReplayState(rehearsal.empty_memory(learner, self.memory))

    def phases(self, learner: Learner) -> Sequence[Phase]:
        collect = Phase("collect", trains=False, epochs=1)
        if not self.every_task and learner.task + 1 < len(learner.classes):
            return (collect,)
        study = Phase(
            "study",
            data=lambda state, learner: Remembered(state.memory),
            restart=True,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
        )
        return (collect, study)

    def draw(
        self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> GDumbDraw | None:
        if learner.phase.data is None:
            return None
        count, options = len(batch.y), self.memory
        replay = None
        if learner.model.depends_on_task:
            replay = rehearsal.rehearse(state.memory, learner, replace(options, batch_size=count), rng)
        blocks = (Block(batch.task, 0, count),) if replay is None else replay.blocks
        mixed = self._mixed(learner.shape)
        return GDumbDraw(self._mix(batch.x, blocks, mixed, rng) if mixed else None, replay)

    def _mixed(self, shape: tuple[int, ...]) -> float:
        """The probability that a batch is mixed."""
        return self.cutmix if self.cutmix is not None else 0.5 if len(shape) == 3 and shape[0] == 3 else 0.0

    def _mix(self, x: Tensor, blocks: Sequence[Block], mixed: float, rng: torch.Generator) -> Mix:
        """A mix within each block; with probability 1 − `mixed` one that changes nothing."""
        partner = [b.start + torch.randperm(b.stop - b.start, generator=rng) for b in blocks]
        chance, share, row, column = torch.rand(4, generator=rng).tolist()
        height, width = x.shape[-2:]
        side = (1 - share) ** 0.5 if chance < mixed else 0.0
        rows = _covered(height, row, side)
        columns = _covered(width, column, side)
        patch = rows[:, None] & columns
        own = 1 - patch.float().mean()
        return Mix(torch.cat(partner).to(x.device), patch.to(x.device), own.to(x.device))

    def loss(self, net: Net, state: ReplayState, batch: Batch, draw: GDumbDraw | None) -> tuple[Tensor, Aux]:
        replay, mix = (None, None) if draw is None else (draw.replay, draw.mix)
        x, target = (batch.x, batch.target) if replay is None else (replay.x, replay.target)
        x = x if mix is None else mix.images(x)
        logits = net(x, batch.task) if replay is None else rehearsal.logits(net, replace(replay, x=x))
        value = F.cross_entropy(logits, target) if mix is None else mix.loss(logits, target)
        return value, Aux({"cross_entropy": value.detach()}, logits.detach())

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        if learner.phase.data is not None:
            return state
        return ReplayState(rehearsal.remember(state.memory, step.batch, rng))


def _covered(size: int, centre: float, side: float) -> Tensor:
    """(size,) bool: pixels of an axis under an interval of `side` · size pixels around `centre` · size (both 0..1)."""
    pixels = torch.arange(size)
    middle, half = int(centre * size), int(side * size) // 2
    return (pixels >= middle - half) & (pixels < middle + half)
