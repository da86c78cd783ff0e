"""Sequences of tasks: where data come from, and how they are cut, permuted, turned and repeated."""

from hypermnesia.data.benchmarks import BENCHMARKS, Benchmark, find_benchmark
from hypermnesia.data.build import blurry, capped, few_shot, with_validation
from hypermnesia.data.domain import noisy, permuted, rotated
from hypermnesia.data.load import load
from hypermnesia.data.loader import loader
from hypermnesia.data.mnist360 import mnist360
from hypermnesia.data.options import StreamOptions
from hypermnesia.data.own_tasks import stream_of
from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.repeat import dual, geometric, sampling, slots
from hypermnesia.data.sources.given import from_arrays
from hypermnesia.data.sources.registry import open_source
from hypermnesia.data.sources.source import Images, Source, from_tensors, joined
from hypermnesia.data.sources.text import TextForm
from hypermnesia.data.split import split
from hypermnesia.data.stream import Part, Stream, Target, Task

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Images",
    "Part",
    "Preprocess",
    "Source",
    "Stream",
    "StreamOptions",
    "Target",
    "Task",
    "TextForm",
    "blurry",
    "capped",
    "few_shot",
    "dual",
    "find_benchmark",
    "from_arrays",
    "from_tensors",
    "geometric",
    "joined",
    "load",
    "loader",
    "mnist360",
    "noisy",
    "open_source",
    "permuted",
    "rotated",
    "sampling",
    "slots",
    "split",
    "stream_of",
    "with_validation",
]
