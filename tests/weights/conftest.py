"""One small generator of every kind, over a target with a convolution and two linear layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch

from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.chunked import ChunkedOptions
from hypermnesia.weights.hypernets.classwise import ClasswiseOptions
from hypermnesia.weights.hypernets.deconv import DeconvOptions
from hypermnesia.weights.hypernets.dense import DenseOptions
from hypermnesia.weights.hypernets.lowrank import LowRankOptions
from hypermnesia.weights.hypernets.per_layer import HeadsOptions, split_vectors
from hypermnesia.weights.hypernets.structured import StructuredOptions

SHAPES = {
    "conv.weight": torch.Size((4, 2, 3, 3)),
    "conv.bias": torch.Size((4,)),
    "mid.weight": torch.Size((9, 8)),
    "twin.weight": torch.Size((9, 8)),
    "mid.bias": torch.Size((9,)),
    "scale": torch.Size(()),
    "head.weight": torch.Size((6, 9)),
    "head.bias": torch.Size((6,)),
}
MATRICES = split_vectors(SHAPES)[0]


@dataclass(frozen=True)
class Case:
    options: GeneratorOptions
    shapes: Mapping[str, torch.Size]

    def build(self, tasks: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Generator:
        """A generator with `tasks` tasks."""
        rng = rng_of(seed, "case")
        generator = self.options.build(self.shapes, rng).to(dtype)
        for _ in range(tasks):
            generator.grow(rng)
        return generator


CASES = {
    "dense": Case(DenseOptions(embedding=3, hidden=(5, 4), activation="elu"), SHAPES),
    "dense, no bias": Case(DenseOptions(embedding=3, hidden=(4,), bias=False), SHAPES),
    # 290 numbers in chunks of 50: the last chunk has 10 too many, and the head lies in two chunks.
    "chunked": Case(ChunkedOptions(chunk=50, embedding=3, chunk_embedding=2, hidden=(5, 4)), SHAPES),
    "chunked, no surplus": Case(
        ChunkedOptions(chunk=58, embedding=3, chunk_embedding=2, hidden=(4,)), SHAPES
    ),
    "chunked, linear": Case(ChunkedOptions(chunk=40, embedding=3, chunk_embedding=2, hidden=()), SHAPES),
    "chunked, conditional": Case(
        ChunkedOptions(chunk=50, embedding=3, chunk_embedding=2, hidden=(5,), conditional=True), SHAPES
    ),
    "chunked, conditional only": Case(
        ChunkedOptions(chunk=50, embedding=0, chunk_embedding=3, hidden=(), conditional=True), SHAPES
    ),
    "classwise": Case(ClasswiseOptions(embedding=3, hidden=(5,)), SHAPES),
    "classwise, classifier alone": Case(
        ClasswiseOptions(embedding=3, hidden=()), {n: SHAPES[n] for n in ("head.weight", "head.bias")}
    ),
    "heads": Case(HeadsOptions(embedding=3, hidden=(5, 4), channel_embedding=2), MATRICES),
    "low-rank": Case(LowRankOptions(rank=2, embedding=3, layer_embedding=2, hidden=(5,)), SHAPES),
    "structured, by tensor": Case(
        StructuredOptions(embedding=3, piece_embedding=2, hidden=(5,), activation="elu"), SHAPES
    ),
    "structured, by filter": Case(
        StructuredOptions(unit="filter", embedding=3, piece_embedding=2, hidden=(5,), activation="elu"),
        SHAPES,
    ),
    # 290 numbers in images of 8 × 8.
    "deconv": Case(DeconvOptions(start=2, channels=(3, 2), embedding=3, chunk_embedding=2), SHAPES),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every kind of generator in turn."""
    return CASES[request.param]


@pytest.fixture
def cases() -> dict[str, Case]:
    """All of them, by name."""
    return CASES
