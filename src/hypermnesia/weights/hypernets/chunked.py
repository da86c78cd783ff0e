"""The chunked hypernetwork: one small network that writes the target piece by piece."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod, sqrt
from typing import Literal, Self
from warnings import warn

import torch
from torch import Tensor

from hypermnesia.core.declared import Count, Counts, Natural, NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets import initial, sizing
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor
from hypermnesia.weights.hypernets.layers import Activation, OutputMap, Table, TaskRows, Trunk
from hypermnesia.weights.hypernets.network import Network, NoisyOptions

SMALLEST_VARIANCE = 1e-5
"""Of a chunk embedding's entries, under hyperfan-in (hypnettorch)."""


@dataclass(frozen=True, kw_only=True)
class ChunkedOptions(NoisyOptions):
    """Chunked hypernetwork of von Oswald et al. 2020, section 2.3; by default hypnettorch's example."""

    chunk: Count = 750
    """Numbers of the target that one pass writes, at least 1 (example 750; paper 2,000 to 78,000)."""
    embedding: Natural = 8
    """Numbers in a task embedding (example 8; paper 24 to 128); 0 only with `conditional`."""
    chunk_embedding: Natural = 8
    """Numbers in a chunk embedding (example 8; paper 8 to 96); 0 only where one chunk holds everything."""
    hidden: Counts = (100, 100)
    """Units of each hidden layer; () makes it linear (example 100,100; paper 10,10 to 200,250,350)."""
    activation: Activation = "relu"
    """What follows each hidden layer (relu; elu on Permuted MNIST)."""
    bias: bool = True
    """Whether its layers have a bias."""
    conditional: bool = False
    """Whether every task has chunk embeddings of its own. Published: all tasks share one set."""
    chunk_std: NotNegative = 1.0
    """Standard deviation of a new chunk embedding's entries, at least 0 (published 1)."""
    init: Literal["plain", "xavier", "hyperfan-in"] = "plain"
    """Start of its weights. plain: torch's. xavier: the paper code's MNIST runs. hyperfan-in: fan-in
    throughout, with chunk embeddings as large as gives each chunk Kaiming's variance; it needs a small
    `embedding_std`, and norm layers' scales and shifts that are not generated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = ("embedding", "chunk_embedding")[self.conditional]
        if getattr(self, needed) < 1:
            raise HypermnesiaError(
                f"generator.{needed}=0: expected integer >= 1 with generator.conditional={str(self.conditional).lower()}"
            )

    def fitted(self, shapes: Mapping[str, torch.Size]) -> Self:
        return self if self.compression is None else sizing.by_chunk(self, shapes)

    def empty(self, shapes: Mapping[str, torch.Size]) -> "Chunked":
        return Chunked(self, shapes)


class Chunked(Network):
    """h(e)_j = A [trunk(c_j ; e) ; 1] for chunk j, with c_j the chunk's embedding.

    The chunks side by side are the target's tensors in their order. Chunks do not align with tensors, and
    what the last one has too much is discarded.
    """

    def __init__(self, options: ChunkedOptions, shapes: Mapping[str, torch.Size]) -> None:
        rows = TaskRows((options.embedding,), options.embedding_std)
        super().__init__(shapes, rows, options.embedding_noise)
        self.chunk = options.chunk
        self.num_chunks = ceil(sum(prod(shape) for shape in self.shapes.values()) / options.chunk)
        if not options.chunk_embedding and self.num_chunks > 1:
            raise HypermnesiaError(
                f"generator.chunk_embedding=0: all {self.num_chunks} chunks would be equal; "
                "give them embeddings, or let generator.chunk hold the whole target"
            )
        sizes = (self.num_chunks, options.chunk_embedding)
        self.chunks = (
            TaskRows(sizes, options.chunk_std) if options.conditional else Table(*sizes, options.chunk_std)
        )
        self.trunk = Trunk(
            options.chunk_embedding + options.embedding,
            options.hidden,
            options.activation,
            options.bias,
            options.dropout,
        )
        self.out = OutputMap(self.trunk.width, options.chunk, options.bias)
        self._embedding_variance = options.embedding_std**2

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        own = self.inputs(tasks)[:, None]
        chunks = self.chunks.pick(tasks) if isinstance(self.chunks, TaskRows) else self.chunks.weight
        if not self.trunk.layers and chunks.ndim == 2 and chunks.shape[1]:
            # Linear with shared chunk embeddings: the chunks' part of the results is the same for all tasks.
            return [LinearFactor(self.out.homogeneous(own), self.out.weight, self.shapes, shared=chunks)]
        write = self.trunk.homogeneous if self.out.bias else self.trunk
        inputs = write(chunks if chunks.ndim == 3 else chunks[None], own)
        return [LinearFactor(inputs, self.out.weight, self.shapes)]

    def hyperfan(
        self,
        scheme: initial.Hyperfan,
        fans: Mapping[str, initial.Fan],
        rng: torch.Generator,
        gain: float = 2.0,
    ) -> None:
        """Start every layer by fan-in, and each chunk's embedding with what its tensors need on average.

        A heuristic (hypnettorch): a chunk may cover several tensors, and all chunks share one last map. That
        map hands on the mean square of the inputs, (n_e Var(e) + n_c Var(c)) / (n_e + n_c), which Var(c)
        brings to the chunk's target. Exact for wide ReLU or linear hypernetworks. Warns where the task
        embeddings alone exceed it.
        """
        n_c, n_e = self.chunks.shape[1], self.embeddings.shape[0]
        if not n_c:
            raise HypermnesiaError(
                "generator.init=hyperfan-in works through chunk embeddings: set generator.chunk_embedding"
            )
        wanted = self._wanted_variances(fans, gain)
        initial.kaiming(self.trunk, rng)
        initial.fan_in(self.out, rng)
        variances = ((n_e + n_c) * wanted - n_e * self._embedding_variance) / n_c
        clipped = int((variances < SMALLEST_VARIANCE).sum())
        if clipped and n_e:
            limit = sqrt((n_e + n_c) * float(wanted.min()) / n_e)
            warn(
                f"hyperfan-in: {clipped} of {self.num_chunks} chunks start too large, because the task "
                "embeddings alone bring more variance than their weights should have: choose "
                f"generator.embedding_std below {limit:.2g}",
                stacklevel=3,
            )
        stds = variances.clamp(min=SMALLEST_VARIANCE).sqrt()[:, None]
        if isinstance(self.chunks, TaskRows):
            self.chunks.std = stds
        else:
            with torch.no_grad():
                self.chunks.weight.normal_(generator=rng).mul_(stds)

    def _wanted_variances(self, fans: Mapping[str, initial.Fan], gain: float) -> Tensor:
        """(chunks,): mean over a chunk's numbers of gain / fan_in (weights) and 1 / (3 fan_in) (biases)."""
        initial.refuse_norms(fans, "chunked")
        each = [
            torch.full((prod(shape),), (gain if fans[name].kind == "weight" else 1 / 3) / fans[name].fan_in)
            for name, shape in self.shapes.items()
        ]
        return torch.stack([part.mean() for part in torch.cat(each).split(self.chunk)])
