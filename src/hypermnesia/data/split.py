"""Class-incremental streams: each task brings classes of its own. Of numbers: each task a region of the samples."""

from collections.abc import Sequence

import torch

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.build import Cut, build, check_tasks, rows
from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.sources.given import Data
from hypermnesia.data.sources.registry import source_of
from hypermnesia.data.sources.source import Source
from hypermnesia.data.stream import Stream

Order = str | Sequence[int]
"""`"label"`: as the source numbers its classes; `"seed"`: shuffled by the stream's seed; or the class ids."""


def split(
    source: Source | Data,
    *,
    test: Data = None,
    tasks: int | None = None,
    classes_per_task: int | Sequence[int] | None = None,
    order: Order = "label",
    seed: int = 0,
    feature: int | None = None,
    preprocess: Preprocess | None = None,
    name: str = "split",
) -> Stream:
    """`tasks` tasks of `classes_per_task` classes each, taken from the source's classes in `order`.

    `source`: a `Source`, or data as `from_arrays` takes them, with `test` as their test part (default: a fifth of each
    class). `classes_per_task` may list a number for each task, such as [50, 10, 10] for a base and increments; the last
    one stands for all further tasks.

    Without `classes_per_task` all classes are spread over the tasks as evenly as possible, earlier tasks having one
    more where it does not divide, about two in each if `tasks` is not given either; with one number alone there are as
    many tasks as can be filled, with a list as many as it names. Where targets are numbers there are no classes: see
    `regions`, which takes `tasks` (by default 5) and `feature`. Raises `HypermnesiaError` when there are too few
    classes.
    """
    source = source_of(source, test)
    if source.tells_numbers:
        if classes_per_task is not None or not isinstance(order, str) or order != "label":
            raise HypermnesiaError(
                f"{name}: numbers have no classes to order or to count: give stream.tasks alone"
            )
        return regions(source, tasks or 5, feature, preprocess, name)
    if feature is not None:
        raise HypermnesiaError(
            f"{name}: stream.feature cuts a regression; these samples are cut by their classes"
        )
    classes = class_order(source, order, seed)
    cuts = [cut_classes(source, group) for group in groups(source.name, classes, tasks, classes_per_task)]
    return build(name, source, cuts, preprocess=preprocess)


def regions(
    source: Source,
    tasks: int,
    feature: int | None,
    preprocess: Preprocess | None = None,
    name: str = "regions",
) -> Stream:
    """`tasks` tasks of about as many training samples each: consecutive rows, or those between two quantiles (of the
    training part) of a `feature` of vectors, the smallest first.

    Raises `HypermnesiaError` for a feature that is not there, and where a task would have fewer than two samples.
    """
    check_tasks(tasks)
    if feature is None:
        own = [
            torch.arange(len(part)).mul(tasks).div(len(part), rounding_mode="floor") for part in source.parts
        ]
        names = [f"part {t + 1}" for t in range(tasks)]
    else:
        if source.kind != "vectors" or feature >= source.shape[0]:
            raise HypermnesiaError(
                f"{name}: stream.feature={feature}, and the samples of {source.name} are {source.kind} of shape "
                f"{source.shape}; features of vectors count from 0"
            )
        values = [part.x[:, feature].contiguous() for part in source.parts]
        starts = [len(source.train) * t // tasks for t in range(1, tasks)]
        edges = values[0].sort().values[starts]
        own = [torch.bucketize(part, edges, right=True) for part in values]
        names = [f"from {edge:g}" for edge in edges.tolist()]
        names = [f"below {edges[0]:g}", *names] if tasks > 1 else ["all"]
    cuts = [
        Cut(title, (0,), *((part == t).nonzero().squeeze(1) for part in own)) for t, title in enumerate(names)
    ]
    for cut in cuts:
        if min(len(cut.train), len(cut.test)) < 2:
            raise HypermnesiaError(
                f"{name}: the task {cut.name!r} would have {len(cut.train)} training and {len(cut.test)} test samples; "
                "expected two of each: give fewer stream.tasks, or another stream.feature"
            )
    return build(name, source, cuts, preprocess=preprocess, shared_labels=True)


def cut_classes(source: Source, classes: Sequence[int], code: int = 0) -> Cut:
    """All samples of `classes` as one task, named after them."""
    name = ", ".join(source.class_names[c] for c in classes)
    train, test = rows(source.train.y, classes), rows(source.test.y, classes)
    return Cut(name, tuple(classes), train, test, code, code)


def class_order(source: Source, order: Order, seed: int) -> list[int]:
    """The source's class ids in `order`."""
    count = len(source.class_names)
    order = order if isinstance(order, str) else [int(c) for c in order]  # arrays and tensors, too
    if order == "label":
        return list(range(count))
    if order == "seed":
        return torch.randperm(count, generator=generator(seed, "class order")).tolist()
    if isinstance(order, str):
        raise HypermnesiaError(f"stream.order is {order!r}; expected 'label', 'seed' or a list of class ids")
    wrong = [c for c in order if not 0 <= c < count]
    if wrong or len(set(order)) < len(order):
        fault = f"class {wrong[0]} does not exist" if wrong else "a class occurs twice"
        raise HypermnesiaError(
            f"stream.order {order}: {fault}; expected classes 0..{count - 1}, each at most once"
        )
    return order


def groups(
    name: str, classes: Sequence[int], tasks: int | None, classes_per_task: int | Sequence[int] | None
) -> list[list[int]]:
    """`classes` cut into the classes of each task; see `split`."""
    count = len(classes)
    if tasks is not None:
        check_tasks(tasks)
    if classes_per_task is None:
        tasks = tasks or max(1, count // 2)
        if tasks > count:
            raise HypermnesiaError(
                f"{tasks} tasks need {tasks} classes, {name} gives {count}: at most {count} tasks"
            )
        each, rest = divmod(count, tasks)
        sizes = [each + 1] * rest + [each] * (tasks - rest)
    elif isinstance(classes_per_task, int):
        check_count("stream.classes_per_task", classes_per_task)
        most = count // classes_per_task
        tasks = tasks or max(1, most)
        if tasks > most:
            raise HypermnesiaError(
                f"{tasks} tasks of {classes_per_task} classes need {tasks * classes_per_task} classes, "
                f"{name} gives {count}; the most possible is {most} tasks"
            )
        sizes = [classes_per_task] * tasks
    else:
        sizes = _listed(name, count, tasks, list(classes_per_task))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [list(classes[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def _listed(name: str, count: int, tasks: int | None, sizes: list[int]) -> list[int]:
    """The classes of each task, of which the first ones are listed."""
    if not sizes:
        raise HypermnesiaError(
            "stream.classes_per_task is an empty list; expected a number of classes for each task"
        )
    for size in sizes:
        check_count("stream.classes_per_task", size)
    if tasks is not None and tasks < len(sizes):
        raise HypermnesiaError(
            f"stream.tasks={tasks}, but stream.classes_per_task={sizes} lists {len(sizes)} tasks; leave out stream.tasks"
        )
    sizes += [sizes[-1]] * ((tasks or len(sizes)) - len(sizes))
    if sum(sizes) > count:
        raise HypermnesiaError(f"tasks of {sizes} classes need {sum(sizes)} classes, {name} gives {count}")
    return sizes
