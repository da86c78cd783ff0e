"""The named benchmarks, and `load`, which makes the stream of one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict

from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.registry import PREFIX, imported
from hypermnesia.data.domain import noisy, permuted, rotated
from hypermnesia.data.mnist360 import mnist360
from hypermnesia.data.options import StreamOptions
from hypermnesia.data.preprocess import (
    CIFAR10,
    CIFAR100,
    CIFAR100_PARTIAL,
    DIGITS,
    FASHION,
    MNIST,
    TINY,
    TINY_MASKS,
    TINY_PARTIAL,
    Normalisation,
    Preprocess,
)
from hypermnesia.data.repeat import dual, geometric, sampling, slots
from hypermnesia.data.sources.registry import PREFIXES, user_source
from hypermnesia.data.sources.source import Source
from hypermnesia.data.split import split
from hypermnesia.data.stream import Stream

COMMON = (
    "size",
    "validation",
    "samples_per_task",
    "shots",
    "first_tasks",
    "normalize",
    "seed",
    "features",
    "features_size",
)
"""Options that every benchmark takes."""


class Made(TypedDict):
    """What the maker of any stream takes."""

    seed: int
    preprocess: Preprocess
    name: str


Build = Callable[[Source, StreamOptions, Made], Stream]
"""(source, options with the benchmark's defaults, all else) → stream."""


@dataclass(frozen=True)
class Scenario:
    """A way to make a stream of a source."""

    name: str
    options: tuple[str, ...]
    """Fields of `StreamOptions` that it takes beside `COMMON`."""
    evaluated: tuple[str, ...]
    """Scenarios that mean something on it: "task" (the task is known), "class", "domain"."""
    build: Build


@dataclass(frozen=True)
class Benchmark:
    """A named stream: sources (one after the other), how they are cut, and what is fixed about it."""

    description: str
    sources: tuple[str, ...]
    scenario: Scenario
    normalisation: Normalisation
    defaults: StreamOptions = StreamOptions()

    @property
    def takes(self) -> tuple[str, ...]:
        """The fields of `StreamOptions` that mean something for it."""
        common = AFTERWARDS if self.scenario is OWN_STREAM else COMMON
        return (*common, *self.scenario.options)


def _split(source: Source, o: StreamOptions, made: Made) -> Stream:
    order = o.order or "label"
    return split(
        source, tasks=o.tasks, classes_per_task=o.classes_per_task, order=order, feature=o.feature, **made
    )


def _permuted(pad: int) -> Build:
    def build(source: Source, o: StreamOptions, made: Made) -> Stream:
        first = o.first_permuted is not False
        return permuted(source, tasks=o.tasks or 10, pad=pad, first_permuted=first, **made)

    return build


def _rotated(source: Source, o: StreamOptions, made: Made) -> Stream:
    return rotated(source, tasks=o.tasks or 20, interpolation=o.interpolation or "nearest", **made)


def _noisy(source: Source, o: StreamOptions, made: Made) -> Stream:
    tasks, classes, order = o.tasks or 4, o.classes_per_task or 5, o.order or "seed"
    return noisy(source, tasks=tasks, classes_per_task=classes, order=order, **made)


def _slots(source: Source, o: StreamOptions, made: Made) -> Stream:
    if isinstance(o.classes_per_task, tuple):
        raise HypermnesiaError(
            f"{made['name']}: every task has as many slots: stream.classes_per_task is one number"
        )
    return slots(source, tasks=o.tasks or 10, classes_per_task=o.classes_per_task or 10, **made)


def _sampling(source: Source, o: StreamOptions, made: Made) -> Stream:
    tasks = o.tasks or 500
    recurrence = 0.2 if o.recurrence is None else o.recurrence
    if (o.rare_classes is None) != (o.rare_recurrence is None):
        given = "rare_recurrence" if o.rare_classes is None else "rare_classes"
        raise HypermnesiaError(
            f"stream.{given} alone says nothing; give stream.rare_classes and stream.rare_recurrence"
        )
    chances: float | Tensor = recurrence
    if o.rare_classes is not None and o.rare_recurrence is not None:
        chances = dual(len(source.class_names), o.rare_classes, o.rare_recurrence, recurrence)
    return sampling(
        source,
        tasks=tasks,
        samples_per_task=o.samples_per_task or 500,
        first=geometric(tasks, o.occurrence or 0.01),
        recurrence=chances,
        **made,
    )


def _mnist360(source: Source, o: StreamOptions, made: Made) -> Stream:
    return mnist360(source, interpolation=o.interpolation or "nearest", **made)


_AUGMENT = ("augment", "jitter", "autoaugment")
_CLASSES = ("tasks", "classes_per_task", "order", *_AUGMENT, "blurry")
_TEXTS = ("length", "vocabulary")
SPLIT = Scenario("split", _CLASSES, ("task", "class"), _split)
ANY_SPLIT = Scenario("split", (*_CLASSES, *_TEXTS, "task", "feature"), ("task", "class"), _split)
REGIONS = Scenario("regions", ("tasks", "feature"), ("task", "domain"), _split)
FIXED_SPLIT = Scenario("split", ("tasks", *_AUGMENT, "blurry"), ("task", "class"), _split)
NOISY = Scenario("noise", _CLASSES, ("task", "class"), _noisy)
_GUISES = ("task", "class", "domain")
PERMUTED = Scenario("permuted", ("tasks", "first_permuted", "blurry"), _GUISES, _permuted(0))
PADDED_PERMUTED = Scenario("permuted", PERMUTED.options, _GUISES, _permuted(2))
ROTATED = Scenario("rotated", ("tasks", "interpolation", *_AUGMENT, "blurry"), _GUISES, _rotated)
SLOTS = Scenario("slots", ("tasks", "classes_per_task", *_AUGMENT, "blurry"), ("class",), _slots)
_RETURNING = ("occurrence", "recurrence", "rare_classes", "rare_recurrence")
SAMPLING = Scenario("sampling", ("tasks", *_RETURNING, *_AUGMENT, "blurry"), ("class",), _sampling)
OWN_TASKS = Scenario("tasks", (*_TEXTS, *_AUGMENT, "blurry"), _GUISES, _split)  # each task is a source
OWN_STREAM = Scenario("own", ("blurry",), _GUISES, _split)  # made by the user's own code
AFTERWARDS = ("validation", "samples_per_task", "shots", "first_tasks", "seed")
"""Options of `COMMON` that mean something for a stream that is made already."""
TURNING = Scenario("mnist-360", ("interpolation",), ("class",), _mnist360)

ICARL_ORDER = (
    *(87, 0, 52, 58, 44, 91, 68, 97, 51, 15, 94, 92, 10, 72, 49, 78, 61, 14, 8, 86, 84, 96, 18, 24, 32),
    *(45, 88, 11, 4, 67, 69, 66, 77, 47, 79, 93, 29, 50, 57, 83, 17, 81, 41, 12, 37, 59, 25, 20, 80, 73),
    *(1, 28, 6, 46, 62, 82, 53, 9, 31, 75, 38, 63, 33, 74, 27, 22, 36, 3, 16, 21, 60, 19, 70, 90, 89),
    *(43, 5, 42, 65, 76, 40, 30, 23, 85, 2, 95, 56, 48, 71, 64, 98, 13, 99, 7, 34, 55, 54, 26, 35, 39),
)
"""The class order of CIFAR-100 that iCaRL published; FeCAM and many others use it."""


def _tasks(tasks: int, classes: int, **more: object) -> StreamOptions:
    return StreamOptions(tasks=tasks, classes_per_task=classes, **more)  # pyright: ignore[reportArgumentType]


BENCHMARKS: dict[str, Benchmark] = {
    "split-digits": Benchmark(
        "scikit-learn's 8 × 8 digits: 5 tasks of 2", ("digits",), SPLIT, DIGITS, _tasks(5, 2)
    ),
    "permuted-digits": Benchmark(
        "scikit-learn's digits, 10 pixel permutations",
        ("digits",),
        PERMUTED,
        DIGITS,
        StreamOptions(tasks=10),
    ),
    "split-docstrings": Benchmark(
        "docstrings of Python's standard library, by module: 5 tasks of 2 modules",
        ("docstrings",),
        ANY_SPLIT,
        Normalisation(),
        _tasks(5, 2),
    ),
    "split-diabetes": Benchmark(
        "scikit-learn's diabetes, a regression: 4 tasks, patients of the lowest blood pressure first",
        ("diabetes",),
        REGIONS,
        Normalisation(),
        StreamOptions(tasks=4, feature=3),
    ),
    "split-mnist": Benchmark("MNIST: 5 tasks of 2 digits", ("mnist",), SPLIT, MNIST, _tasks(5, 2)),
    "permuted-mnist": Benchmark(
        "MNIST padded to 32 × 32, 10 pixel permutations, the first task unpermuted",
        ("mnist",),
        PADDED_PERMUTED,
        MNIST,
        StreamOptions(tasks=10, first_permuted=False),
    ),
    "permuted-mnist-20": Benchmark(
        "MNIST at 28 × 28, 20 pixel permutations: the replay papers' form",
        ("mnist",),
        PERMUTED,
        MNIST,
        StreamOptions(tasks=20),
    ),
    "rotated-mnist": Benchmark(
        "MNIST turned by 20 angles of 0 to 180 degrees, sampled at the nearest pixel",
        ("mnist",),
        ROTATED,
        MNIST,
        StreamOptions(tasks=20, interpolation="nearest"),
    ),
    "mnist-360": Benchmark(
        "MNIST digits 0 to 8 in pairs that turn, sampled at the nearest pixel, without task boundaries",
        ("mnist",),
        TURNING,
        MNIST,
    ),
    "cir-mnist": Benchmark(
        "MNIST, classes return: 5 tasks of 5 slots",
        ("mnist",),
        SLOTS,
        replace(MNIST, normalize="standard"),
        _tasks(5, 5),
    ),
    "split-fashion-mnist": Benchmark(
        "Fashion-MNIST: 5 tasks of 2 classes", ("fashion-mnist",), SPLIT, FASHION, _tasks(5, 2)
    ),
    "split-cifar10": Benchmark("CIFAR-10: 5 tasks of 2 classes", ("cifar10",), SPLIT, CIFAR10, _tasks(5, 2)),
    "split-cifar100": Benchmark(
        "CIFAR-100: 10 tasks of 10 classes", ("cifar100",), SPLIT, CIFAR100, _tasks(10, 10)
    ),
    "split-cifar100-20x5": Benchmark(
        "CIFAR-100: 20 tasks of 5 classes in random order",
        ("cifar100",),
        SPLIT,
        CIFAR100_PARTIAL,
        _tasks(20, 5, order="seed"),
    ),
    "split-cifar100-5x20-fecam": Benchmark(
        "CIFAR-100: 5 tasks of 20 classes in FeCAM's fixed order, brightness jitter, AutoAugment",
        ("cifar100",),
        SPLIT,
        CIFAR100,
        _tasks(5, 20, order=ICARL_ORDER, jitter=63 / 255, autoaugment="cifar10"),
    ),
    "split-cifar10-100": Benchmark(
        "CIFAR-10, then blocks of 10 classes of CIFAR-100: 6 tasks, at most 11",
        ("cifar10", "cifar100"),
        FIXED_SPLIT,
        CIFAR10,
        _tasks(6, 10),
    ),
    "noisy-cifar": Benchmark(
        "CIFAR-100: 4 tasks of 5 classes, each under its own image corruption",
        ("cifar100",),
        NOISY,
        CIFAR100_PARTIAL,
        _tasks(4, 5, order="seed"),
    ),
    "cir-slot-cifar100": Benchmark(
        "CIFAR-100, classes return: 10 tasks of 30 slots", ("cifar100",), SLOTS, CIFAR100, _tasks(10, 30)
    ),
    "cir-sampling-cifar100": Benchmark(
        "CIFAR-100, classes and samples return at random: 500 tasks of 500 samples",
        ("cifar100",),
        SAMPLING,
        CIFAR100,
        StreamOptions(tasks=500, samples_per_task=500, occurrence=0.01, recurrence=0.2),
    ),
    "cir-unbalanced-cifar100": Benchmark(
        "CIFAR-100, a tenth of the classes return rarely, the others always: 100 tasks of 2000 samples",
        ("cifar100",),
        SAMPLING,
        CIFAR100,
        StreamOptions(
            tasks=100,
            samples_per_task=2000,
            occurrence=0.2,
            recurrence=1.0,
            rare_classes=0.1,
            rare_recurrence=0.1,
        ),
    ),
    "split-tiny-imagenet": Benchmark(
        "Tiny ImageNet: 10 tasks of 20 classes", ("tiny-imagenet",), SPLIT, TINY, _tasks(10, 20)
    ),
    "split-tiny-imagenet-20x10": Benchmark(
        "Tiny ImageNet at 32 × 32: 20 tasks of 10 classes in random order",
        ("tiny-imagenet",),
        SPLIT,
        TINY_PARTIAL,
        _tasks(20, 10, order="seed", size=32),
    ),
    "split-tiny-imagenet-40x5": Benchmark(
        "Tiny ImageNet: 40 tasks of 5 classes in random order",
        ("tiny-imagenet",),
        SPLIT,
        TINY_MASKS,
        _tasks(40, 5, order="seed"),
    ),
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name, or what is made of a user's own data: "folder:PATH", "folders:PATH" and the like, or
    the stream that "python:MODULE:NAME" makes."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    if name.startswith(PREFIX):
        imported(name, name)
        return Benchmark("your own stream", (name,), OWN_STREAM, Normalisation())
    user = user_source(name)
    if user is None:
        raise unknown("benchmark", name, [*BENCHMARKS, *PREFIXES.values(), "python:MODULE:NAME"])
    scenario = OWN_TASKS if user.kind == "folders" else ANY_SPLIT
    return Benchmark("your own data", (name,), scenario, Normalisation(flip=None))
