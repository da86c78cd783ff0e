"""What the generators that are networks share: options, and how they are made and filled."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch

from hypermnesia.core.declared import Count, Counts, NotNegative, Probability
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.layers import Activation, OutputMap


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(GeneratorOptions):
    """A network whose input is a task's embedding. What inherits says how it is made, and narrows what it has not."""

    embedding: Count = 8
    """Numbers in a task embedding, at least 1."""
    hidden: Counts = ()
    """Units of each hidden layer; () makes it linear."""
    activation: Activation = "relu"
    """What follows each hidden layer."""
    embedding_std: NotNegative = 1.0
    """Standard deviation of a new task embedding's entries, at least 0 (published 1)."""
    init: initial.Init | Literal["zero"] = "plain"
    """Start of its weights. plain: torch's. xavier."""
    mask_bias: float = 0.0
    """Added to every bias of the last maps, so that generated masks |tanh(h)| start near |tanh(mask_bias)|."""

    @abstractmethod
    def empty(self, shapes: Mapping[str, torch.Size]) -> "Network":
        """A generator of the tensors `shapes` without tasks, whose weights are allocated and not filled."""

    def build(
        self,
        shapes: Mapping[str, torch.Size],
        rng: torch.Generator,
        scales: Collection[str] = (),
        shifts: Collection[str] = (),
    ) -> "Network":
        generator = self.empty(shapes)
        if self.init.startswith("hyperfan"):
            generator.hyperfan(cast("initial.Hyperfan", self.init), initial.fans(shapes, scales, shifts), rng)
        else:
            start = initial.xavier if self.init == "xavier" else initial.plain
            start(generator, rng)
        generator.finish(self, rng)
        return generator


@dataclass(frozen=True, kw_only=True)
class NoisyOptions(NetworkOptions):
    """A network that may have noise while it trains."""

    dropout: Probability = 0.0
    """Probability with which a hidden unit is dropped while training, at least 0 and below 1 (hypnettorch −1, none). The
    values that the drift penalty holds on to are written without."""
    embedding_noise: NotNegative = 0.0
    """Standard deviation of Gaussian noise on task embeddings while training, at least 0 (hypercl's temb_std, 0)."""


class Network(Generator):
    """A generator that `NetworkOptions` make."""

    def hyperfan(
        self,
        scheme: initial.Hyperfan,
        fans: Mapping[str, initial.Fan],
        rng: torch.Generator,
        gain: float = 2.0,
    ) -> None:
        """Start every target tensor with the variance of `initial.target_variance`, as far as this generator can."""
        raise HypermnesiaError(
            f"generator.init={scheme}: {type(self).__name__} has no such start; take plain"
        )

    def finish(self, options: NetworkOptions, rng: torch.Generator) -> None:
        """What is left of the start: here `mask_bias`."""
        for part in self.modules():
            if isinstance(part, OutputMap):
                initial.offset(part, options.mask_bias)
