"""Data that a learner goes on with when its stream is over: further tasks, without the earlier ones' samples."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import expanded, with_suffix
from hypermnesia.data.build import capped, few_shot, with_validation
from hypermnesia.data.options import StreamOptions, refuse_others
from hypermnesia.data.sources.decode import with_channels
from hypermnesia.data.sources.registry import open_source, user_source
from hypermnesia.data.sources.source import Images, Source
from hypermnesia.data.sources.text import TextForm
from hypermnesia.data.sources.through import Through
from hypermnesia.data.split import split
from hypermnesia.data.stream import Part, Stream, Task

OPTIONS = ("tasks", "classes_per_task", "order", "samples_per_task", "shots", "validation", "seed")
"""What may be said of further data; shape and preprocessing are those of the stream."""


@dataclass(frozen=True, kw_only=True)
class Further:
    """Where the data lie and how they become tasks."""

    data: str
    """`folder:PATH`, `parquet:PATH`, `csv:PATH`, `npz:PATH`, `hub:OWNER/NAME`, or a name that `open_source` knows."""
    options: StreamOptions = StreamOptions()
    """How they are cut; one task if nothing is said."""
    apart: bool = False
    """Whether classes are new ones even where the stream has classes of the same name."""
    vocabulary: int = TextForm.vocabulary
    """Token ids that the stream's words are hashed to."""
    data_dir: Path | None = None
    """Where known data sets lie."""

    def __post_init__(self) -> None:
        refuse_others("further data", self.options, OPTIONS)


def named(data: str) -> str:
    """`data` as `open_source` takes it; a plain path is a folder of classes, or of parquet files, or such a file.

    Paths become absolute, so that they mean the same from everywhere.
    """
    user = user_source(data)
    if user is not None and user.kind == "hub":
        return data
    path = expanded(user.where if user else data)
    if not path.exists():
        if user is None and data.replace("-", "_").isidentifier():
            return data  # a known data set, or a slip that the list of these will tell
        raise HypermnesiaError(
            f"{data}: no such file or folder; expected a folder with a sub-folder for each class, or parquet, CSV or .npz files"
        )
    return f"{user.kind if user else _kind(path)}:{path.resolve()}"


def _kind(path: Path) -> str:
    """What reads a file or a folder that is there."""
    if path.suffix in (".csv", ".npz"):
        return path.suffix[1:]
    if with_suffix(path, ".csv"):
        return "csv"
    return "parquet" if path.is_file() or with_suffix(path, ".parquet") else "folder"


def extended(earlier: Stream, further: Further, through: Through | None = None) -> Stream:
    """`earlier` with the tasks of the further data behind its own; its samples are not needed.

    Samples are brought to the stream's shape: images are cut to a square, scaled, and made grey or coloured. A class is
    one that the stream has already if the names are equal, unless `further.apart`. Raises `HypermnesiaError` for data
    that cannot be brought to the shape, and for streams whose test parts are not its tasks'.
    """
    _refuse_numbers(earlier)
    source = _read(earlier, further, through)
    options = further.options
    tasks = options.tasks or (None if options.classes_per_task else 1)
    own = split(
        source,
        tasks=tasks,
        classes_per_task=options.classes_per_task,
        order=options.order or "label",
        seed=options.seed or 0,
    )
    if options.samples_per_task is not None:
        own = capped(own, options.samples_per_task, options.seed or 0)
    if options.shots is not None:
        own = few_shot(own, options.shots, options.seed or 0, base=0)
    if options.validation is not None:
        own = with_validation(own, options.validation, options.seed or 0)
    return followed_by(earlier, own, further.apart)


def followed_by(earlier: Stream, own: Stream, apart: bool = False) -> Stream:
    """`earlier` with the tasks of `own`, whose samples have the same kind and shape, behind its own.

    A class of `own` is one that `earlier` has already if the names are equal, unless `apart`.
    """
    _refuse_numbers(earlier, own)
    if len(earlier.tests) != len(earlier.tasks):
        raise HypermnesiaError(f"{earlier.name} is tested class by class: it cannot be given further tasks")
    if (own.kind, own.shape) != (earlier.kind, earlier.shape):
        raise HypermnesiaError(
            f"{own.name}: samples are {own.kind} of shape {own.shape}, those of {earlier.name} {earlier.kind} of shape "
            f"{earlier.shape}, to which they cannot be brought"
        )
    names, ids = _numbered(earlier, own, apart)
    added = tuple(_renumbered(task, len(earlier.tasks), ids) for task in own.tasks)
    before = tuple(replace(task) for task in earlier.tasks)
    digest = hashlib.sha256(f"{earlier.source_sha256}+{own.source_sha256}".encode())
    return replace(
        earlier,
        tasks=(*before, *added),
        class_names=names,
        tests=tuple(task.test for task in (*before, *added)),
        source_sha256=digest.hexdigest(),
        shared_labels=earlier.shared_labels and len(names) == earlier.num_classes,
    )


def _refuse_numbers(*streams: Stream) -> None:
    """Labels are standardised by one whole training part, which further data would change."""
    for stream in streams:
        if stream.target is not None:
            raise HypermnesiaError(
                f"{stream.name} tells numbers (task=regression), which cannot be learned further; train on all tasks at once: "
                "hm.stream_of([task1, task2, …])"
            )


def _read(earlier: Stream, further: Further, through: Through | None) -> Source:
    """The source in the shape of the stream's samples."""
    shape = earlier.shape
    if earlier.kind == "texts":
        text = TextForm(shape[0], further.vocabulary)
        source = open_source(further.data, data_dir=further.data_dir, text=text)
    elif through is not None:
        source = through(open_source(further.data, data_dir=further.data_dir, size=through.size))
    else:
        size = shape[1] if len(shape) == 3 and shape[1] == shape[2] else None
        source = open_source(further.data, data_dir=further.data_dir, size=size)
        if earlier.kind == source.kind == "images" and source.shape[0] != shape[0]:
            parts = [Images(with_channels(part.x, shape[0]), part.y) for part in (source.train, source.test)]
            source = replace(source, train=parts[0], test=parts[1])
    return source


def _numbered(earlier: Stream, own: Stream, apart: bool) -> tuple[tuple[str, ...], torch.Tensor]:
    """(names of all classes, global id of each class of the further data)."""
    names, ids = list(earlier.class_names), []
    for name in own.class_names:
        if name in earlier.class_names and not apart:
            ids.append(earlier.class_names.index(name))
            continue
        fresh, count = name, 2
        while fresh in names:
            fresh, count = f"{name} ({count})", count + 1
        ids.append(len(names))
        names.append(fresh)
    return tuple(names), torch.tensor(ids)


def _renumbered(task: Task, before: int, ids: torch.Tensor) -> Task:
    """The task behind `before` others, its classes under their global ids."""

    def part(part: Part) -> Part:
        return replace(part, labels=torch.where(part.labels >= 0, ids[part.labels.clamp_min(0)], part.labels))

    return Task(
        before + task.index,
        task.name,
        tuple(ids[list(task.classes)].tolist()),
        part(task.train),
        part(task.test),
        None if task.validation is None else part(task.validation),
    )


def retested(stream: Stream, original: Stream) -> Stream:
    """`stream` with the test parts of the `original` for the tasks that it has; its training parts stay away."""
    kept = []
    for task, source in zip(stream.tasks, original.tasks, strict=False):
        if (task.name, task.classes) != (source.name, source.classes):
            raise HypermnesiaError(
                f"{original.name} is not what the run has learned: its task {task.index + 1} is {source.name!r} now and "
                f"was {task.name!r}"
            )
        kept.append(replace(task, test=source.test))
    tasks = (*kept, *stream.tasks[len(kept) :])
    return replace(stream, tasks=tasks, tests=tuple(task.test for task in tasks))
