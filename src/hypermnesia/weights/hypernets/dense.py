"""The plain hypernetwork: one network from a task's embedding to all numbers of the target at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from hypermnesia.core.declared import Count, Counts, NotNegative, Probability
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor
from hypermnesia.weights.hypernets.layers import Activation, OutputMap, TaskRows, Trunk


@dataclass(frozen=True, kw_only=True)
class DenseOptions(GeneratorOptions):
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
    embedding_std: NotNegative = 1.0
    """Standard deviation of a new embedding's entries, at least 0 (both papers 1)."""
    dropout: Probability = 0.0
    """Probability with which a hidden unit is dropped while training, at least 0 and below 1 (hypnettorch −1, none). The
    values that the drift penalty holds on to are written without."""
    embedding_noise: NotNegative = 0.0
    """Standard deviation of Gaussian noise on task embeddings while training, at least 0 (hypercl's temb_std, 0)."""
    init: initial.Init = "plain"
    """Start of its weights. plain: torch's (HyperMask, hypnettorch's example). xavier: the paper code's MNIST
    runs. hyperfan-in, -out, -harmonic: so that the generated weights have Kaiming's or Xavier's variance."""
    mask_bias: float = 0.0
    """Added to every bias of the last map, so that generated masks |tanh(h)| start near |tanh(mask_bias)|: 2
    gives 0.96; 0 as published gives about 0.15 to 0.2."""

    def build(
        self,
        shapes: Mapping[str, torch.Size],
        rng: torch.Generator,
        scales: Collection[str] = (),
        shifts: Collection[str] = (),
    ) -> "Dense":
        """A generator of the tensors `shapes` without tasks, its weights drawn from `rng`.

        `scales` and `shifts` name the tensors of normalisation layers, for the hyperfan starts.
        """
        generator = Dense(self, shapes)
        if self.init == "plain":
            initial.plain(generator, rng)
        elif self.init == "xavier":
            initial.xavier(generator, rng)
        else:
            generator.hyperfan(self.init, initial.fans(shapes, scales, shifts), rng)
        initial.offset(generator.out, self.mask_bias)
        return generator


class Dense(Generator):
    """h(e) = A [trunk(e) ; 1], cut into the target's tensors in their order.

    Its weights are not filled yet: `DenseOptions.build` does both.
    """

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
        """Start every target tensor with the variance of `initial.target_variance`."""
        initial.kaiming(self.trunk, rng)
        squares = self.trunk.width * initial.second_moment(self.trunk, self._input_variance)
        pieces = self.out.weight.split([prod(shape) for shape in self.shapes.values()])
        for fan, rows in zip(fans.values(), pieces, strict=True):
            variance = initial.target_variance(fan, scheme, gain)
            initial.fill_rows(rows, fan, variance, squares, self.out.bias, rng)
