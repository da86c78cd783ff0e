"""The order in which a task's samples are visited: resumable, and independent of everything else."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


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
