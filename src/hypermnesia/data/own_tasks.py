"""Streams of a user's own tasks: each task is a source of its own."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.registry import imported, told
from hypermnesia.data.build import Cut, build
from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.sources.decode import with_channels
from hypermnesia.data.sources.given import Data
from hypermnesia.data.sources.registry import source_of
from hypermnesia.data.sources.source import Images, Source, require_text
from hypermnesia.data.stream import Stream


def stream_of(
    tasks: Sequence[Data | Source | str | Path],
    *,
    names: Sequence[str] | None = None,
    apart: bool = False,
    preprocess: Preprocess | Callable[[Source], Preprocess] | None = None,
    name: str = "tasks",
) -> Stream:
    """A stream whose tasks are `tasks`, in that order, each tested on its own test part.

    Each is a `Source`, a name such as "folder:PATH", or what `from_arrays` takes. Classes of equal names are one class in
    all tasks, unless `apart` says that they are not; classes without names are named by their labels. Where all tasks
    have the same classes the stream is a domain-incremental one. `names`: of the tasks; by default their classes, or
    their number. `preprocess` may be made of the source of all tasks. Grey images become coloured where another task has
    colours. Raises `HypermnesiaError` for samples of different kinds or shapes.
    """
    sources = [source_of(task) for task in tasks]
    if not sources:
        raise HypermnesiaError(f"{name}: the list of tasks is empty; expected data for at least one")
    if names is not None and len(names) != len(sources):
        raise HypermnesiaError(f"{name}: {len(names)} names for {len(sources)} tasks; expected one for each")
    source, classes = merged(sources, name, apart)
    shared = all(set(own) == set(classes[0]) for own in classes)
    titles = names or [
        f"task {t + 1}" if shared else ", ".join(own.class_names) for t, own in enumerate(sources)
    ]
    ends = [[0], [0]]
    for own in sources:
        ends[0].append(ends[0][-1] + len(own.train))
        ends[1].append(ends[1][-1] + len(own.test))
    cuts = [
        Cut(title, tuple(own), *(torch.arange(end[t], end[t + 1]) for end in ends))
        for t, (title, own) in enumerate(zip(titles, classes, strict=True))
    ]
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        preprocess = preprocess(source)
    return build(name, source, cuts, preprocess=preprocess, shared_labels=shared and len(cuts) > 1)


def made_by(reference: str, seed: int, data_dir: str | Path | None) -> Stream:
    """The stream that `python:package.module:name` names: a `Stream`, or a function that returns one and takes, by these
    names, what it wants of `seed` and `data_dir`. Whatever it raises becomes a `HypermnesiaError`."""
    found, given = imported(reference, reference), {"seed": seed, "data_dir": data_dir and Path(data_dir)}
    if callable(found):
        wanted = inspect.signature(found).parameters.values()
        everything = any(one.kind is one.VAR_KEYWORD for one in wanted)
        names = given if everything else [one.name for one in wanted if one.name in given]
        try:
            found = found(**{name: given[name] for name in names})
        except HypermnesiaError:
            raise
        except Exception as error:
            raise HypermnesiaError(f"{reference} raised {told(error)}") from error
    if not isinstance(found, Stream):
        raise HypermnesiaError(
            f"{reference}: expected a hypermnesia.Stream, or a function that returns one, such as hm.split(…) or "
            f"hm.stream_of([…]); got {type(found).__name__}"
        )
    return found


def merged(sources: Sequence[Source], name: str, apart: bool) -> tuple[Source, list[list[int]]]:
    """The sources one after the other as one, and the class ids that the classes of each have in it.

    Classes of equal names are one, unless `apart`.
    """
    kinds = {
        (source.kind, source.shape[1:] if source.kind == "images" else source.shape) for source in sources
    }
    if len(kinds) > 1:
        listed = " and ".join(sorted(f"{kind} of shape {shape}" for kind, shape in kinds))
        raise HypermnesiaError(
            f"{name}: samples are {listed}; expected one kind and shape (stream.size brings images to one size)"
        )
    telling = {source.tells_numbers for source in sources}
    if len(telling) > 1:
        raise HypermnesiaError(
            f"{name}: some tasks have classes and some numbers (task=regression); expected one of both"
        )
    known: dict[str, int] = {}
    ids: list[list[int]] = []
    for t, source in enumerate(sources):
        own = []
        for title in source.class_names:
            if telling == {True}:  # one output, whatever each task calls it
                title = next(iter(known), title)
            while apart and title in known and telling == {False}:  # each class has a name of its own
                title = f"{title} (task {t + 1})"
            own.append(known.setdefault(title, len(known)))
        ids.append(own)
    channels = max(source.shape[0] for source in sources)

    def part(which: str) -> Images:
        images: list[Images] = [getattr(source, which) for source in sources]
        x = [with_channels(i.x, channels) if i.x.ndim == 4 else i.x for i in images]
        y = [
            i.y if i.y.is_floating_point() else torch.tensor(own)[i.y]
            for i, own in zip(images, ids, strict=True)
        ]
        return Images(torch.cat(x), torch.cat(y))

    return Source(name, part("train"), part("test"), tuple(known)), ids


def task_folders(path: Path) -> list[Path]:
    """The sub-folders of `path`, each a task, in the order of their names."""
    if not path.is_dir():
        raise HypermnesiaError(f"folder {str(path)!r}: no such folder")
    found = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise HypermnesiaError(f"folder {str(path)!r} has no sub-folder; expected one for each task")
    for folder in found:
        require_text(folder.name, f"folder {str(path)!r}: the name of the task")
    return found
