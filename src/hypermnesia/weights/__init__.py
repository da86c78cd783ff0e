"""Generators of weights, and the distance that what they write has drifted."""

from hypermnesia.core.registry import Registry
from hypermnesia.weights.compose import Add, MaskOptions, SemiBinaryMask
from hypermnesia.weights.hypernets.adapters import AdapterOptions, Adapters
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.chunked import Chunked, ChunkedOptions
from hypermnesia.weights.hypernets.classwise import Classwise, ClasswiseOptions
from hypermnesia.weights.hypernets.deconv import Deconv, DeconvOptions
from hypermnesia.weights.hypernets.dense import Dense, DenseOptions
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor, OuterFactor
from hypermnesia.weights.hypernets.lowrank import LowRank, LowRankOptions
from hypermnesia.weights.hypernets.per_layer import Heads, HeadsOptions, split_vectors
from hypermnesia.weights.hypernets.structured import Structured, StructuredOptions
from hypermnesia.weights.model import Model
from hypermnesia.weights.outputs import Head

GENERATORS = Registry[GeneratorOptions](
    "generator",
    GeneratorOptions,
    {
        "dense": DenseOptions,
        "chunked": ChunkedOptions,
        "heads": HeadsOptions,
        "lowrank": LowRankOptions,
        "structured": StructuredOptions,
        "deconv": DeconvOptions,
        "classwise": ClasswiseOptions,
        "adapters": AdapterOptions,
    },
)
"""The options of every generator, by the name that `generator.name` takes."""

__all__ = [
    "GENERATORS",
    "AdapterOptions",
    "Adapters",
    "Add",
    "Chunked",
    "ChunkedOptions",
    "Classwise",
    "ClasswiseOptions",
    "Deconv",
    "DeconvOptions",
    "Dense",
    "DenseOptions",
    "Factor",
    "Generator",
    "GeneratorOptions",
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
    "Structured",
    "StructuredOptions",
    "split_vectors",
]
