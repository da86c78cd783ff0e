"""The order in which a part's samples are visited, resumable and independent of everything else, and the batches in it,
of which small ones are made several at a time.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hypermnesia.data.stream import network_input
from hypermnesia.methods.learner import Batch, Learner, Samples
from hypermnesia.training.features import Features

AHEAD = 2**18
"""Numbers of network input that are made at once, at most: a mebibyte of them, which stays in a core's cache."""


@dataclass
class Order:
    """Batches of positions 0..size−1, reshuffled every epoch.

    `endless`: every batch is full and may straddle two epochs (runs measured in iterations). Otherwise an epoch's
    last batch holds what is left (runs measured in epochs).
    """

    size: int
    batch_size: int
    endless: bool
    rng: torch.Generator
    shuffle: bool = True
    """False: in the samples' own order, for streams whose order matters."""
    permutation: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    offset: int = 0

    def steps_per_epoch(self) -> int:
        """Batches in one epoch, the last partial one included."""
        return -(-self.size // self.batch_size)

    def next(self) -> Tensor:
        """The next batch's positions, int64 (b,)."""
        if self.offset >= len(self.permutation):
            self._reshuffle()
        taken = self.permutation[self.offset : self.offset + self.batch_size]
        self.offset += len(taken)
        while self.endless and len(taken) < self.batch_size:
            self._reshuffle()
            more = self.permutation[: self.batch_size - len(taken)]
            self.offset = len(more)
            taken = torch.cat([taken, more])
        return taken

    def coming(self, most: int) -> Tensor:
        """The positions of the next whole batches, as many as the epoch still has and at most so many, without moving on."""
        whole = min(most, (len(self.permutation) - self.offset) // self.batch_size)
        return self.permutation[self.offset : self.offset + whole * self.batch_size]

    def skip(self) -> None:
        """Move on by a batch that `coming` told."""
        self.offset += self.batch_size

    def _reshuffle(self) -> None:
        in_order = torch.arange(self.size)
        self.permutation = torch.randperm(self.size, generator=self.rng) if self.shuffle else in_order
        self.offset = 0


class Batches:
    """Batches of `part` in the order of `order`, whose position alone says which comes next: what was made ahead is
    made again after a resume.

    `features`: what stands for the network's input.
    `fixed`: whether the part stays as it is, so that batches may be made before their time. None are while
    preprocessing draws (augmentation): its draws belong to their steps.
    """

    def __init__(
        self,
        part: Any,
        order: Order,
        learner: Learner,
        rng: torch.Generator,
        fixed: bool = True,
        channels_last: bool = False,
        features: Features | None = None,
    ) -> None:
        self.part, self.order, self.learner, self.rng = part, order, learner, rng
        self.channels_last, self.features = channels_last, features
        numbers = order.batch_size * max(1, torch.Size(learner.shape).numel())
        self._most = AHEAD // numbers if fixed and not learner.preprocess.draws else 1
        self._made: deque[Batch] = deque()

    def next(self) -> Batch:
        """The next batch; the order moves on by it."""
        if not self._made and self._most > 1:
            coming = self.order.coming(self._most)
            self._made.extend(self._of(coming) if len(coming) else ())
        if self._made:
            self.order.skip()
            return self._made.popleft()
        return self._of(self.order.next())[0]

    def _of(self, positions: Tensor) -> list[Batch]:
        """The batches of these positions, (k · batch size,), or of fewer than one batch."""
        learner, size = self.learner, self.order.batch_size
        raw, y = self.part.batch(positions)
        if self.features is None:
            x = network_input(self.part, positions, raw, learner.preprocess, self.rng)
        else:
            x = self.features(positions, self.rng)
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        target = learner.targets(y, learner.task)
        if len(positions) <= size:
            return [Batch(x, y, target, learner.task, raw)]
        parts = (whole.split(size) for whole in (x, y, target, raw))
        return [Batch(x, y, target, learner.task, raw) for x, y, target, raw in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Joined:
    """Samples of two kinds, one behind the other."""

    first: Samples
    second: Samples

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        own = positions < len(self.first)
        x, y = self.first.batch(positions[own])
        more, labels = self.second.batch(positions[~own] - len(self.first))
        order = torch.cat([own.nonzero().flatten(), (~own).nonzero().flatten()]).argsort().to(x.device)
        return torch.cat([x, more.to(x.device)])[order], torch.cat([y, labels.to(y.device)])[order]
