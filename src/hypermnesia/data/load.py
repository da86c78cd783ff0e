"""`load`: the stream of a named benchmark, or of a user's own data."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import expanded
from hypermnesia.data.benchmarks import ANY_SPLIT, OWN_STREAM, OWN_TASKS, Benchmark, find_benchmark
from hypermnesia.data.build import beginning, blurry, capped, few_shot, with_validation
from hypermnesia.data.options import StreamOptions, refuse_others
from hypermnesia.data.own_tasks import made_by, stream_of, task_folders
from hypermnesia.data.preprocess import Normalisation, Preprocess
from hypermnesia.data.sources.given import Data
from hypermnesia.data.sources.registry import open_source, source_of
from hypermnesia.data.sources.source import Source, joined
from hypermnesia.data.sources.text import TextForm
from hypermnesia.data.sources.through import Through
from hypermnesia.data.stream import Stream

_FOR = {
    "size": ("images",),
    "augment": ("images",),
    "jitter": ("images",),
    "autoaugment": ("images",),
    "normalize": ("images", "vectors"),
    "length": ("texts",),
    "vocabulary": ("texts",),
}
"""Options that mean something for some kinds of samples only."""


def load(
    benchmark: str | Source | Data,
    *,
    test: Data = None,
    data_dir: str | Path | None = None,
    seed: int = 0,
    options: StreamOptions | None = None,
    through: Through | None = None,
) -> Stream:
    """The stream of a named benchmark, or of a user's own data cut by classes.

    `benchmark`: a name (`python:MODULE:NAME` is a stream of the user's own), a `Source`, or data as `from_arrays` takes
    them, with `test` as their test part. `data_dir` holds known data sets as `NAME/*.parquet`; `seed` decides everything
    random unless `options.seed` does. `through` makes of a decoded source what the stream is cut from, features in place of
    images say, which are then taken as they are unless `options` normalise them. The order of what is done: cut into tasks,
    at most `samples_per_task` kept and `shots` of each class, blurred, ended after `first_tasks`, validation cut. Raises
    `HypermnesiaError` for unknown names, options that the benchmark does not take, and bad data.
    """
    given, own = options or StreamOptions(), None
    form = TextForm(given.length or TextForm.length, given.vocabulary or TextForm.vocabulary)
    if isinstance(benchmark, str) and test is None:
        name, entry = benchmark, find_benchmark(benchmark)
    else:
        own = source_of(benchmark, test, size=given.size, text=form, task=given.task)
        name, entry = own.name, Benchmark("your own data", (), ANY_SPLIT, Normalisation(flip=None))
    refuse_others(name, given, entry.takes)
    chosen = given.over(entry.defaults)
    seed = seed if chosen.seed is None else chosen.seed

    def preprocess(source: Source) -> Preprocess:
        _refuse_for(source, given)
        if source.kind == "texts" or (through is not None and chosen.normalize is None):
            return Preprocess()
        colour = source.kind == "images" and source.shape[0] == 3
        if given.autoaugment is not None and not colour:
            raise HypermnesiaError(
                f"stream.autoaugment changes colours; the images of {source.name} have {source.shape[0]} channels, not 3"
            )
        plain = entry.normalisation.preprocess(source, chosen.normalize, chosen.augment)
        return replace(plain, jitter=chosen.jitter or 0.0, autoaugment=chosen.autoaugment if colour else None)

    def opened(names: Iterable[str]) -> list[Source]:
        return [
            open_source(name, data_dir=data_dir, size=chosen.size, text=form, task=given.task)
            for name in names
        ]

    if entry.scenario is OWN_STREAM:
        stream = made_by(name, seed, data_dir)
    elif entry.scenario is OWN_TASKS:
        folders = task_folders(expanded(name.partition(":")[2]))
        parts, names = opened(f"folder:{folder}" for folder in folders), [folder.name for folder in folders]
        parts = parts if through is None else [through(part) for part in parts]
        stream = stream_of(parts, names=names, preprocess=preprocess, name=name)
    else:
        sources = [own] if own else opened(entry.sources)
        source = joined(sources) if len(sources) > 1 else sources[0]
        source = source if through is None else through(source)
        stream = entry.scenario.build(
            source, chosen, {"seed": seed, "preprocess": preprocess(source), "name": name}
        )
    if chosen.samples_per_task is not None:
        stream = capped(stream, chosen.samples_per_task, seed)
    if chosen.shots is not None:
        stream = few_shot(stream, chosen.shots, seed)
    if chosen.blurry is not None:
        stream = blurry(stream, chosen.blurry, seed)
    if chosen.first_tasks is not None:
        stream = beginning(stream, chosen.first_tasks)
    if chosen.validation is not None:
        stream = with_validation(stream, chosen.validation, seed)
    return stream


def _refuse_for(source: Source, given: StreamOptions) -> None:
    """Raise for options that mean nothing for samples of this kind."""
    for name, kinds in _FOR.items():
        if name in given.given() and source.kind not in kinds:
            raise HypermnesiaError(
                f"stream.{name} is for {' and '.join(kinds)}; the samples of {source.name} are {source.kind}"
            )
    for name, wanted in (("size", given.size), ("length", given.length)):
        if wanted is not None and source.shape[-1] != wanted:
            raise HypermnesiaError(
                f"stream.{name}={wanted}: the samples of {source.name} have the shape {source.shape} already; only images "
                "and texts that are not decoded yet can be brought to another"
            )
