"""Sequences of tasks: where data come from, and how they are cut, permuted, turned and repeated."""

from hypermnesia.streams.augment import Preprocess
from hypermnesia.streams.benchmarks import BENCHMARKS, Benchmark, find_benchmark, load
from hypermnesia.streams.build import blurry, capped, with_validation
from hypermnesia.streams.domain import permuted, rotated
from hypermnesia.streams.mnist360 import mnist360
from hypermnesia.streams.noise import noisy
from hypermnesia.streams.options import StreamOptions
from hypermnesia.streams.part import Part
from hypermnesia.streams.repeat import dual, geometric, sampling, slots
from hypermnesia.streams.source import Images, Source, from_tensors, joined
from hypermnesia.streams.sources import open_source
from hypermnesia.streams.split import split
from hypermnesia.streams.stream import Stream, Task
from hypermnesia.streams.text import TextForm

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Images",
    "Part",
    "Preprocess",
    "Source",
    "Stream",
    "StreamOptions",
    "Task",
    "TextForm",
    "blurry",
    "capped",
    "dual",
    "find_benchmark",
    "from_tensors",
    "geometric",
    "joined",
    "load",
    "mnist360",
    "noisy",
    "open_source",
    "permuted",
    "rotated",
    "sampling",
    "slots",
    "split",
    "with_validation",
]
