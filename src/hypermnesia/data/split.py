"""Class-incremental streams: each task brings classes of its own."""

from collections.abc import Sequence

import torch

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.build import Cut, build, rows
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
    preprocess: Preprocess | None = None,
    name: str = "split",
) -> Stream:
    """`tasks` tasks of `classes_per_task` classes each, taken from the source's classes in `order`.

    `source`: a `Source`, or data as `from_arrays` takes them, with `test` as their test part (default: a fifth of each
    class). `classes_per_task` may list a number for each task, such as [50, 10, 10] for a base and increments; the last
    one stands for all further tasks.

    Without `classes_per_task` all classes are spread over the tasks as evenly as possible, earlier tasks having one
    more where it does not divide, about two in each if `tasks` is not given either; with one number alone there are as
    many tasks as can be filled, with a list as many as it names. Raises `HypermnesiaError` when there are too few
    classes.
    """
    source = source_of(source, test)
    classes = class_order(source, order, seed)
    cuts = [cut_classes(source, group) for group in groups(source.name, classes, tasks, classes_per_task)]
    return build(name, source, cuts, preprocess=preprocess)


def cut_classes(source: Source, classes: Sequence[int], code: int = 0) -> Cut:
    """All samples of `classes` as one task, named after them."""
    name = ", ".join(source.class_names[c] for c in classes)
    train, test = rows(source.train.y, classes), rows(source.test.y, classes)
    return Cut(name, tuple(classes), train, test, code, code)


def class_order(source: Source, order: Order, seed: int) -> list[int]:
    """The source's class ids in `order`."""
    count = len(source.class_names)
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
            f"stream.order {list(order)}: {fault}; expected classes 0..{count - 1}, each at most once"
        )
    return list(order)


def groups(
    name: str, classes: Sequence[int], tasks: int | None, classes_per_task: int | Sequence[int] | None
) -> list[list[int]]:
    """`classes` cut into the classes of each task; see `split`."""
    count = len(classes)
    if tasks is not None:
        check_count("stream.tasks", tasks)
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
