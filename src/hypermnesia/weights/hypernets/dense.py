"""The plain hypernetwork: one network from a task's embedding to all numbers of the target at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from hypermnesia.core.declared import Count, Counts
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor
from hypermnesia.weights.hypernets.layers import Activation, OutputMap, TaskRows, Trunk
from hypermnesia.weights.hypernets.network import Network, NoisyOptions


@dataclass(frozen=True, kw_only=True)
class DenseOptions(NoisyOptions):
    """Plain hypernetwork; by default that of hypnettorch's `HMLP`. HyperMask uses ELU and its own sizes.

    Its last map has (hidden + 1) × (numbers of the target) parameters, so it is many times the target's size.
    """

    embedding: Count = 8
    """Numbers in a task embedding, at least 1 (hypnettorch 8; HyperMask 24 to 128)."""
    hidden: Counts = (100, 100)
    """Units of each hidden layer; () makes it linear (hypnettorch 100,100; HyperMask 25 to 200)."""
    activation: Activation = "relu"
    """What follows each hidden layer (hypnettorch relu; HyperMask elu)."""
    bias: bool = True
    """Whether its layers have a bias."""
    init: initial.Init = "plain"
    """Start of its weights. plain: torch's (HyperMask, hypnettorch's example). xavier: the paper code's MNIST
    runs. hyperfan-in, -out, -harmonic: so that the generated weights have Kaiming's or Xavier's variance."""
    mask_bias: float = 0.0
    """Added to every bias of the last map, so that generated masks |tanh(h)| start near |tanh(mask_bias)|: 2
    gives 0.96; 0 as published gives about 0.15 to 0.2."""

    def empty(self, shapes: Mapping[str, torch.Size]) -> "Dense":
        return Dense(self, shapes)


class Dense(Network):
    """h(e) = A [trunk(e) ; 1], cut into the target's tensors in their order."""

    def __init__(self, options: DenseOptions, shapes: Mapping[str, torch.Size]) -> None:
        rows = TaskRows((options.embedding,), options.embedding_std)
        super().__init__(shapes, rows, options.embedding_noise)
        total = sum(prod(shape) for shape in self.shapes.values())
        self.trunk = Trunk(
            options.embedding, options.hidden, options.activation, options.bias, options.dropout
        )
        self.out = OutputMap(self.trunk.width, total, options.bias)
        self._input_variance = options.embedding_std**2

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        features = self.trunk(self.inputs(tasks))
        return [LinearFactor(self.out.homogeneous(features)[:, None], self.out.weight, self.shapes)]

    def hyperfan(
        self,
        scheme: initial.Hyperfan,
        fans: Mapping[str, initial.Fan],
        rng: torch.Generator,
        gain: float = 2.0,
    ) -> None:
        initial.kaiming(self.trunk, rng)
        squares = self.trunk.width * initial.second_moment(self.trunk, self._input_variance)
        pieces = self.out.weight.split([prod(shape) for shape in self.shapes.values()])
        for fan, rows in zip(fans.values(), pieces, strict=True):
            variance = initial.target_variance(fan, scheme, gain)
            initial.fill_rows(rows, fan, variance, squares, self.out.bias, rng)
