"""A replay memory by itself, for a training loop of one's own: `buffer` with a generator of random numbers of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.rng import generator
from hypermnesia.methods.replay import buffer
from hypermnesia.methods.replay.buffer import Drawn, Memory, Policy


class ReplayMemory:
    """Up to `size` samples of what was added, chosen by `policy`: reservoir, class-balanced, frequency-aware or ring.

    The first batch says what a sample is: images, tokens or vectors, with logits or without, on the CPU or a GPU. `seed`
    draws which stay and which are rehearsed, as the method of a run with that seed does.
    """

    def __init__(self, size: int = 200, policy: Policy = "reservoir", seed: int = 0) -> None:
        buffer.check(size, num_classes=0)
        if policy not in buffer.INSERTING:
            raise unknown("memory policy", policy, buffer.INSERTING)
        self.size = size
        self.policy: Policy = policy
        self.held: Memory | None = None
        """The memory itself; None before the first batch."""
        self._rng = generator(seed, "method")

    def __len__(self) -> int:
        """Samples held."""
        return 0 if self.held is None else self.held.filled

    def __repr__(self) -> str:
        return f"ReplayMemory({len(self)} of {self.size} samples, {self.policy})"

    def add(self, x: Tensor, y: Tensor, task: int = 0, logits: Tensor | None = None) -> None:
        """Offer samples x (B, …) with their classes y (B,) int64, or numbers, float32, and, in all batches or in none, logits
        (B, outputs)."""
        if self.held is None:
            self.held = buffer.empty(
                self.size,
                x.shape[1:],
                outputs=None if logits is None else logits.shape[1],
                policy=self.policy,
                dtype=x.dtype,
                labels=torch.float32 if y.is_floating_point() else torch.int64,
                device=x.device,
            )
        buffer.insert(self.held, x.detach(), y, task, logits, self._rng)

    def draw(self, count: int, tasks: Sequence[int] | None = None) -> Drawn:
        """min(count, held) samples at random, each at most once: `drawn.x`, `drawn.y`, `drawn.logits`.

        `tasks`: equal shares of these instead, one task after the other.
        """
        if self.held is None:
            raise HypermnesiaError(
                "the replay memory is empty: add a batch before drawing, or ask len(memory) first"
            )
        return buffer.draw(self.held, count, self._rng, by_task=tasks)

    def classes(self) -> dict[int, int]:
        """Class → samples held."""
        return {} if self.held is None else self.held.classes()

    def tasks(self) -> dict[int, int]:
        """Task → samples held."""
        return {} if self.held is None else self.held.tasks()
