"""The deconvolutional hypernetwork: chunks of the target as images that transposed convolutions paint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod, sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.declared import Count, Counts, OneOrMore
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor
from hypermnesia.weights.hypernets.layers import ACTIVATIONS, Activation, OutputMap, Table, TaskRows, Trunk
from hypermnesia.weights.hypernets.network import Network, NetworkOptions, NoisyOptions

_TAPS = 9  # of the last map: a 3 × 3 neighbourhood


@dataclass(frozen=True, kw_only=True)
class DeconvOptions(NoisyOptions):
    """Deconvolutional hypernetwork, after hypercl's `SAHyperNetwork` (von Oswald et al. 2020), without self-attention."""

    start: Count = 4
    """Side of the first, smallest image, at least 1 (hypercl 4)."""
    hidden: Counts = ()
    """Units of the layers before the first image."""
    channels: OneOrMore = (64, 32)
    """Channels of the images before each doubling of their side, at least one, each at least 1 (hypercl …, 256, 128). A
    pass writes (start · 2^count)² numbers of the target."""
    chunk_embedding: Count = 8
    """Numbers in the learned vector of each image, at least 1."""
    activation: Activation = "relu"
    """What follows the first map and each transposed convolution but the last."""
    init: Literal["plain", "xavier"] = "plain"
    """Start of its weights. plain: torch's. xavier."""

    def empty(self, shapes: Mapping[str, torch.Size]) -> "Deconv":
        return Deconv(self, shapes)


class Doubling(nn.Module):
    """A transposed convolution of kernel 4 and stride 2: (N, before, side, side) → (N, after, 2 side, 2 side)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(before, after, 4, 4))
        self.bias = nn.Parameter(torch.empty(after))

    def start(self, init: str, rng: torch.Generator) -> None:
        """Torch's start of a transposed convolution, U(±1 / √(16 · after)), or Xavier's with a bias of 0."""
        before, after = self.weight.shape[:2]
        plain = init == "plain"
        initial.uniform(self.weight, sqrt(1 / (16 * after) if plain else 6 / (16 * (before + after))), rng)
        initial.uniform(self.bias, sqrt(1 / (16 * after)) if plain else 0.0, rng)

    def forward(self, images: Tensor) -> Tensor:
        return F.conv_transpose2d(images, self.weight, self.bias, stride=2, padding=1)


class Deconv(Network):
    """For chunk j: a linear map of [c_j ; e] to a small image, doublings of its side, and a last one that is linear.

    The last doubling writes the 2 × 2 numbers of each place from its 3 × 3 neighbourhood, as a transposed convolution of
    kernel 6 does; so it is one matrix for all places of all chunks, and the drift penalty need not build the weights. The
    numbers of a place lie side by side in the target. What the last chunk has too much is discarded.
    """

    def __init__(self, options: DeconvOptions, shapes: Mapping[str, torch.Size]) -> None:
        rows = TaskRows((options.embedding,), options.embedding_std)
        super().__init__(shapes, rows, options.embedding_noise)
        self.channels, self.start = options.channels, options.start
        self.activation: Activation = options.activation
        side = options.start * 2 ** len(options.channels)
        total = sum(prod(shape) for shape in self.shapes.values())
        self.chunks = Table(ceil(total / side**2), options.chunk_embedding)
        first = options.channels[0] * options.start**2
        self.trunk = Trunk(
            options.chunk_embedding + options.embedding,
            (*options.hidden, first),
            options.activation,
            dropout=options.dropout,
        )
        pairs = zip(options.channels[:-1], options.channels[1:], strict=True)
        self.doublings = nn.ModuleList(Doubling(before, after) for before, after in pairs)
        self.out = OutputMap(_TAPS * options.channels[-1], 4)

    def finish(self, options: NetworkOptions, rng: torch.Generator) -> None:
        for layer in self.doublings:
            assert isinstance(layer, Doubling)
            layer.start(options.init, rng)
        super().finish(options, rng)

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        own = self.inputs(tasks)[:, None]
        features = self.trunk(self.chunks.weight[None], own)  # (T, chunks, first)
        images = features.flatten(0, 1).unflatten(1, (self.channels[0], self.start, self.start))
        for doubling in self.doublings:
            images = ACTIVATIONS[self.activation](doubling(images))
        places = F.unfold(images, 3, padding=1).mT  # (T · chunks, places, 9 · channels)
        z = places.unflatten(0, features.shape[:2]).flatten(1, 2)
        return [LinearFactor(self.out.homogeneous(z), self.out.weight, self.shapes)]
