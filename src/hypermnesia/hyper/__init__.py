"""Generators of weights, and the distance that what they write has drifted."""

from hypermnesia.hyper.chunked import Chunked, ChunkedOptions
from hypermnesia.hyper.dense import Dense, DenseOptions
from hypermnesia.hyper.factor import Factor, LinearFactor, OuterFactor
from hypermnesia.hyper.generator import Generator
from hypermnesia.hyper.head import Head
from hypermnesia.hyper.heads import Heads, HeadsOptions, split_vectors
from hypermnesia.hyper.lowrank import LowRank, LowRankOptions
from hypermnesia.hyper.mask import Add, MaskOptions, SemiBinaryMask
from hypermnesia.hyper.model import Model

GENERATORS = {
    "dense": DenseOptions,
    "chunked": ChunkedOptions,
    "heads": HeadsOptions,
    "lowrank": LowRankOptions,
}
"""The options of every generator, by the name that `generator.name` takes."""

__all__ = [
    "GENERATORS",
    "Add",
    "Chunked",
    "ChunkedOptions",
    "Dense",
    "DenseOptions",
    "Factor",
    "Generator",
    "Head",
    "Heads",
    "HeadsOptions",
    "LinearFactor",
    "LowRank",
    "LowRankOptions",
    "MaskOptions",
    "Model",
    "OuterFactor",
    "SemiBinaryMask",
    "split_vectors",
]
