"""The parts of a stream as torch `DataLoader`s, for a training loop of one's own."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.stream import Part, Stream, network_input


def loader(
    stream: Stream,
    part: Part,
    batch_size: int = 32,
    rng: torch.Generator | None = None,
    steps: int | None = None,
) -> DataLoader[Any]:
    """Batches of a part of `stream` as networks take them: x (B, …) float32 images or vectors or int64 tokens, and y (B,)
    int64 global class ids.

    With `rng`, a CPU generator, for training: shuffled anew in each pass, unless the stream is ordered, and augmented
    where the stream augments. Without, for evaluation: in the part's order and as they are. `steps`: a pass gives so many
    batches, all full, whatever number of passes over the samples that takes. None: every sample once; the last batch holds
    what is left. Batches are gathered whole, so there are no workers.
    """
    if not isinstance(part, Part):
        raise HypermnesiaError(
            f"loader: expected a part of the stream, such as task.train or task.test, got {type(part).__name__}; validation "
            "parts are there with StreamOptions(validation=0.1)"
        )
    check_count("loader: batch_size", batch_size)
    if steps is not None:
        check_count("loader: steps", steps)
        if not len(part):
            raise HypermnesiaError(
                "loader: this part holds no samples to make batches of; an opened run has none"
            )
    order = _Order(len(part), batch_size, None if stream.ordered else rng, steps)
    return DataLoader(_Whole(stream, part, rng), batch_size=None, sampler=order)


class _Whole(Dataset[tuple[Tensor, Tensor]]):
    """Looked up by the positions of a whole batch."""

    def __init__(self, stream: Stream, part: Part, rng: torch.Generator | None) -> None:
        self.stream, self.part, self.rng = stream, part, rng

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        raw, y = self.part.batch(positions)
        return network_input(self.part, positions, raw, self.stream.preprocess, self.rng), y


class _Order(Sampler[Tensor]):
    """Positions (B,) of one batch after the other; the draws are those of a run's own order of samples."""

    def __init__(self, size: int, batch_size: int, rng: torch.Generator | None, steps: int | None) -> None:
        self.size, self.batch_size, self.rng, self.steps = size, batch_size, rng, steps

    def __len__(self) -> int:
        return self.steps or -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        if self.steps is None:
            yield from self._pass().split(self.batch_size) if self.size else ()
            return
        left = self._pass()
        for _ in range(self.steps):
            while len(left) < self.batch_size:
                left = torch.cat([left, self._pass()])
            yield left[: self.batch_size]
            left = left[self.batch_size :]

    def _pass(self) -> Tensor:
        if self.rng is None:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=self.rng)
