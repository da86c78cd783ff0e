"""From cuts of a source to a stream: what all scenarios have in common."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.preprocess import Preprocess, usual
from hypermnesia.data.sources.source import Images, Source
from hypermnesia.data.sources.stratify import hold_out, take
from hypermnesia.data.stream import Part, Stream, Target, Task, concatenate
from hypermnesia.data.transforms import Code, Identity, Transform

MOST_TASKS = 10**5 - 1
"""Of a stream; names of checkpoints have five digits for them."""


def check_tasks(tasks: int) -> None:
    """Raise unless a stream may have so many tasks; for makers that would draw something for each of them first."""
    check_count("stream.tasks", tasks)
    if tasks > MOST_TASKS:
        raise HypermnesiaError(f"stream.tasks={tasks}: expected at most {MOST_TASKS}")


@dataclass(frozen=True)
class Cut:
    """One task in terms of its source: class ids in order, and rows of its train and test images."""

    name: str
    classes: tuple[int, ...]
    train: Tensor
    """int64 (n,)"""
    test: Tensor
    """int64 (m,)"""
    code: Code = 0
    test_code: Code = 0


def build(
    name: str,
    source: Source,
    cuts: Sequence[Cut],
    *,
    transform: Transform | None = None,
    preprocess: Preprocess | None = None,
    boundaries: bool = True,
    shared_labels: bool = False,
    ordered: bool = False,
) -> Stream:
    """The stream of `cuts`, evaluated on each task's test part. Global class ids are numbered as the cuts
    bring the classes. Without `preprocess` pixels are brought to 0..1 and vectors standardised. Labels that are numbers
    are standardised by the whole training part.
    """
    if len(cuts) > MOST_TASKS:
        raise HypermnesiaError(f"{name}: {len(cuts)} tasks; expected at most {MOST_TASKS}")
    preprocess, sha256, target = preprocess or usual(source), source.sha256, None
    if source.tells_numbers:
        source, target = standardised_targets(source)
    order = list(dict.fromkeys(c for cut in cuts for c in cut.classes))
    labels = torch.full((len(source.class_names),), -1, dtype=torch.int64)
    labels[order] = torch.arange(len(order))
    transform = transform or Identity()

    def task(index: int, cut: Cut) -> Task:
        return Task(
            index,
            cut.name,
            tuple(labels[list(cut.classes)].tolist()),
            Part(source.train, cut.train, labels, transform, cut.code),
            Part(source.test, cut.test, labels, transform, cut.test_code),
        )

    tasks = tuple(task(index, cut) for index, cut in enumerate(cuts))
    return Stream(
        name,
        tasks,
        tuple(source.class_names[c] for c in order),
        preprocess,
        tuple(task.test for task in tasks),
        sha256,
        boundaries=boundaries,
        shared_labels=shared_labels or target is not None,
        ordered=ordered,
        target=target,
    )


def standardised_targets(source: Source) -> tuple[Source, Target]:
    """The source with (number − mean) / std as labels, by the mean and standard deviation of its training part."""
    y = source.train.y.double()
    target = Target(source.class_names[0], float(y.mean()), float(y.std(correction=0)))
    train, test = (
        Images(part.x, ((part.y.double() - target.mean) / target.std).float())
        for part in (source.train, source.test)
    )
    return replace(source, train=train, test=test), target


def tested_by_class(stream: Stream, source: Source, codes: Code = 0) -> Stream:
    """The stream evaluated on all test samples of each of its classes, class by class.

    `codes`: the transform's member for every row of the source's test images, or one for each, int64 (N,).
    """
    view = stream.tasks[0].test
    y = view.labels[source.test.y]
    tests = []
    for c in range(stream.num_classes):
        index = rows(y, [c])
        code = codes if isinstance(codes, int) else codes[index]
        tests.append(Part(source.test, index, view.labels, view.transform, code))
    return replace(stream, tests=tuple(tests))


def rows(y: Tensor, classes: Iterable[int]) -> Tensor:
    """Ascending positions of the labels `y` (N,) that are among `classes`, int64 (n,)."""
    if y.is_floating_point():
        raise HypermnesiaError("this stream is cut by classes, and its targets are numbers (task=regression)")
    return torch.isin(y, torch.tensor(list(classes))).nonzero().squeeze(1)


def capped(stream: Stream, samples: int, seed: int) -> Stream:
    """At most `samples` training samples in each task, stratified by class; tests stay whole."""

    def cap(task: Task) -> Task:
        if samples >= len(task.train):
            return task
        chosen = take(task.train.y, samples, generator(seed, "samples", task.index))
        return replace(task, train=task.train.subset(chosen))

    return replace(stream, tasks=tuple(cap(task) for task in stream.tasks))


def few_shot(stream: Stream, shots: int, seed: int, base: int = 1) -> Stream:
    """At most `shots` training samples of each class, chosen at random, in all tasks after the first `base` ones; tests stay
    whole."""

    if stream.target is not None:
        raise HypermnesiaError(
            "stream.shots counts samples of a class; of numbers take stream.samples_per_task"
        )

    def cut(task: Task) -> Task:
        rng, y = generator(seed, "shots", task.index), task.train.y
        classes = [rows(y, [c]) for c in task.classes]
        kept = [own[torch.randperm(len(own), generator=rng)[:shots]] for own in classes]
        return replace(task, train=task.train.subset(torch.cat(kept).sort().values))

    return replace(stream, tasks=(*stream.tasks[:base], *map(cut, stream.tasks[base:])))


def beginning(stream: Stream, tasks: int) -> Stream:
    """The first `tasks` tasks, exactly as they are in the whole stream, whose class ids they keep. Raises
    `HypermnesiaError` when there are fewer.
    """
    if tasks > len(stream.tasks):
        raise HypermnesiaError(f"stream.first_tasks={tasks}: {stream.name} has {len(stream.tasks)} tasks")
    by_task = len(stream.tests) == len(stream.tasks) and all(
        test is task.test for test, task in zip(stream.tests, stream.tasks, strict=True)
    )
    tests = stream.tests[:tasks] if by_task else stream.tests
    return replace(stream, tasks=stream.tasks[:tasks], tests=tests)


def with_validation(stream: Stream, fraction: float, seed: int) -> Stream:
    """About `fraction` of each task's training samples of every class become its validation part, at least
    one of every class that has two. Raises `HypermnesiaError` for a task that has none to give.
    """

    def cut(task: Task) -> Task:
        kept, held = hold_out(task.train.y, fraction, generator(seed, "validation", task.index))
        if not len(held):
            raise HypermnesiaError(
                f"stream.validation={fraction}: task {task.index} ({task.name}) has one training sample "
                "of each class, so none can be cut off; raise stream.samples_per_task"
            )
        return replace(task, train=task.train.subset(kept), validation=task.train.subset(held))

    return replace(stream, tasks=tuple(cut(task) for task in stream.tasks))


def blurry(stream: Stream, fraction: float, seed: int) -> Stream:
    """Each task gives `fraction` of its training samples to the others: boundaries blur, no sample is lost.

    What a task gives is a random, stratified choice and is dealt evenly among the other tasks. A task's
    `classes` are then all that occur in its training samples; its test part stays its own. The stream no
    longer tells its boundaries. After the blurry setups of Bang et al. 2021 (arXiv:2103.17230).
    """
    count = len(stream.tasks)
    if stream.ordered or count < 2:
        raise HypermnesiaError(
            f"stream.blurry mixes the samples of tasks that follow one another; {stream.name} "
            + ("has samples in a fixed order" if stream.ordered else "has one task only")
        )
    kept: list[Part] = []
    given: list[list[Part]] = [[] for _ in range(count)]
    for task in stream.tasks:
        rng = generator(seed, "blurry", task.index)
        own = torch.ones(len(task.train), dtype=torch.bool)
        leaving = take(task.train.y, round(fraction * len(task.train)), rng)
        own[leaving] = False
        kept.append(task.train.subset(own.nonzero().squeeze(1)))
        leaving = leaving[torch.randperm(len(leaving), generator=rng)]
        # Starting after the giver spreads the uneven rests of all tasks over different receivers.
        for turn, receiver in enumerate((task.index + k) % count for k in range(1, count)):
            given[receiver].append(task.train.subset(leaving[turn :: count - 1]))
    tasks = []
    for task, own_part, guests in zip(stream.tasks, kept, given, strict=True):
        train = concatenate([own_part, *guests])
        foreign = [c for c in train.classes if c not in task.classes]
        tasks.append(replace(task, train=train, classes=(*task.classes, *foreign)))
    return replace(stream, tasks=tuple(tasks), boundaries=False)
