"""The partial hypernetwork's generator: one small head per tensor, over a trunk that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Count, Counts
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor, Shapes
from hypermnesia.weights.hypernets.layers import Activation, OutputMap, Table, TaskRows, Trunk
from hypermnesia.weights.hypernets.network import Network, NetworkOptions


@dataclass(frozen=True, kw_only=True)
class HeadsOptions(NetworkOptions):
    """Per-layer heads; by default the settings of Hemati et al. 2023, "Partial hypernetworks" (CoLLAs).

    They write matrices and convolutions: of vectors, such as biases and the parameters of norms, every task stores its own.
    """

    matrices_only: ClassVar[bool] = True

    embedding: Count = 32
    """Numbers in a task embedding, at least 1 (published 32)."""
    hidden: Counts = (50, 32)
    """Units of the trunk's layers, all followed by the activation (published 50, 32); () for none."""
    activation: Activation = "relu"
    """What follows each layer of the trunk (published relu)."""
    channel_embedding: Count = 32
    """Numbers in the learned vector of each output channel of a convolution, at least 1 (published 32)."""
    init: initial.Init = "plain"
    """Start of its weights. plain: torch's (published; every generated layer has a standard deviation of
    about 0.4). xavier, or hyperfan-in, -out, -harmonic for generated weights with Kaiming's or Xavier's
    variance."""

    def empty(self, shapes: Mapping[str, torch.Size]) -> "Heads":
        return Heads(self, shapes)


def split_vectors(shapes: Mapping[str, torch.Size]) -> tuple[Shapes, Shapes]:
    """(tensors that `Heads` writes: two and more dimensions, vectors that every task stores)."""
    written = {name: torch.Size(shape) for name, shape in shapes.items() if len(shape) >= 2}
    stored = {name: torch.Size(shape) for name, shape in shapes.items() if len(shape) < 2}
    return written, stored


class MatrixHead(nn.Module):
    """All entries of a matrix from the trunk's features u: A [u ; 1]."""

    def __init__(self, features: int, shape: torch.Size) -> None:
        super().__init__()
        self.out = OutputMap(features, prod(shape))

    def factor(self, features: Tensor, shapes: Shapes) -> LinearFactor:
        """features (T, width) → the factor of the tensor in `shapes`."""
        return LinearFactor(self.out.homogeneous(features)[:, None], self.out.weight, shapes)


class ConvHead(nn.Module):
    """A convolution's filters: A [E_o ; u ; 1] for output channel o, with A shared by all channels."""

    def __init__(self, features: int, channel: int, shape: torch.Size) -> None:
        super().__init__()
        self.channels = Table(shape[0], channel)
        self.out = OutputMap(channel + features, prod(shape[1:]))

    def factor(self, features: Tensor, shapes: Shapes) -> LinearFactor:
        """features (T, width) → the factor of the tensor in `shapes`."""
        z = self.out.homogeneous(features)[:, None]
        return LinearFactor(z, self.out.weight, shapes, shared=self.channels.weight)


class Heads(Network):
    """u = trunk(e); then one head per tensor: channel-wise for convolutions, plain for matrices."""

    def __init__(self, options: HeadsOptions, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__(shapes, TaskRows((options.embedding,), options.embedding_std))
        vectors = split_vectors(self.shapes)[1]
        if vectors:
            raise HypermnesiaError(
                f"heads write matrices and convolutions, not the vectors {', '.join(vectors)}: "
                "store those per task"
            )
        self.trunk = Trunk(options.embedding, options.hidden, options.activation)
        self.heads = nn.ModuleList(
            MatrixHead(self.trunk.width, shape)
            if len(shape) == 2
            else ConvHead(self.trunk.width, options.channel_embedding, shape)
            for shape in self.shapes.values()
        )
        self._input_variance = options.embedding_std**2

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        features = self.trunk(self.embeddings.pick(tasks))
        return [
            head.factor(features, {name: shape})
            for head, (name, shape) in zip(self.per_tensor(), self.shapes.items(), strict=True)
        ]

    def per_tensor(self) -> "list[MatrixHead | ConvHead]":
        """The heads, in the order of `shapes`."""
        return cast("list[MatrixHead | ConvHead]", list(self.heads))

    def hyperfan(
        self,
        scheme: initial.Hyperfan,
        fans: Mapping[str, initial.Fan],
        rng: torch.Generator,
        gain: float = 2.0,
    ) -> None:
        initial.kaiming(self.trunk, rng)
        initial.tables(self, rng)
        squares = self.trunk.width * initial.second_moment(self.trunk, self._input_variance)
        for head, fan in zip(self.per_tensor(), fans.values(), strict=True):
            own = squares + head.channels.shape[1] if isinstance(head, ConvHead) else squares
            variance = initial.target_variance(fan, scheme, gain)
            initial.fill_rows(head.out.weight, fan, variance, own, True, rng)
