"""What a learner has to know of its stream once the data are gone: tasks, classes, shape, preprocessing."""

from dataclasses import asdict, replace
from math import prod
from typing import Any

import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.sources.source import MOST_CLASSES, MOST_VALUES, Images
from hypermnesia.data.stream import Part, Stream, Target, Task
from hypermnesia.data.transforms import Identity


def outline(stream: Stream) -> dict[str, Any]:
    """A JSON-able account of `stream` without its samples; `from_outline` gives a stream of empty parts back."""
    by_task = [part is task.test for part, task in zip(stream.tests, stream.tasks, strict=False)]
    return {
        "name": stream.name,
        "shape": list(stream.shape),
        "class_names": list(stream.class_names),
        "tasks": [{"name": task.name, "classes": list(task.classes)} for task in stream.tasks],
        "tests": "tasks" if len(by_task) == len(stream.tests) and all(by_task) else len(stream.tests),
        "preprocess": asdict(stream.preprocess),
        "boundaries": stream.boundaries,
        "shared_labels": stream.shared_labels,
        "ordered": stream.ordered,
        **({"vectors": True} if stream.kind == "vectors" else {}),
        **({} if stream.target is None else {"target": asdict(stream.target)}),
    }


def from_outline(value: Any) -> Stream:
    """The stream that `outline` described, its parts empty; `HypermnesiaError` for anything else."""
    try:
        return _read(value)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise HypermnesiaError(f"no outline of a stream: {type(error).__name__}: {error}") from error


def _read(value: Any) -> Stream:
    shape = _numbers(value["shape"], MOST_VALUES)
    names = tuple(str(name) for name in value["class_names"])
    if not shape or prod(shape) > MOST_VALUES or not 0 < len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} classes of samples of shape {shape}")
    kind = torch.uint8 if len(shape) == 3 else torch.float32 if value.get("vectors") is True else torch.int64
    nothing = torch.zeros(0, dtype=torch.int64)
    told = value.get("target")
    target = None if told is None else Target(str(told["name"]), float(told["mean"]), float(told["std"]))
    images = Images(torch.zeros(0, *shape, dtype=kind), nothing if target is None else nothing.float())

    def empty() -> Part:
        return Part(images, nothing, torch.arange(len(names)), _IDENTITY)

    tasks = []
    for index, task in enumerate(value["tasks"]):
        classes = _numbers(task["classes"])
        if not classes or max(classes) >= len(names):
            raise ValueError(f"task {index} has the classes {classes} of {len(names)}")
        tasks.append(Task(index, str(task["name"]), classes, empty(), empty()))
    if not tasks:
        raise ValueError("it has no task")
    tests = tuple(task.test for task in tasks)
    if value["tests"] != "tasks":
        [count] = _numbers([value["tests"]])
        tests = tuple(empty() for _ in range(count))
    p = value["preprocess"]
    mean, std = (tuple(float(v) for v in p[key]) for key in ("mean", "std"))
    [crop] = _numbers([p["crop"]])
    return Stream(
        name=str(value["name"]),
        tasks=tuple(tasks),
        class_names=names,
        preprocess=Preprocess(
            mean, std, crop, bool(p["flip"]), float(p.get("jitter", 0)), p.get("autoaugment") or None
        ),
        tests=tests,
        source_sha256="",
        boundaries=bool(value["boundaries"]),
        shared_labels=bool(value["shared_labels"]),
        ordered=bool(value["ordered"]),
        target=target,
    )


def beginning(stream: Stream, tasks: int, classes: int) -> Stream:
    """The first tasks of an outline, of a stream that had so many classes by then."""
    kept = stream.tasks[:tasks]
    return replace(
        stream, tasks=kept, class_names=stream.class_names[:classes], tests=tuple(t.test for t in kept)
    )


_IDENTITY = Identity()  # one for all parts: joining them asks for the same transform


def _numbers(values: Any, most: int = MOST_CLASSES) -> tuple[int, ...]:
    found = tuple(values)
    if len(found) > most or not all(type(v) is int and 0 <= v <= most for v in found):
        raise ValueError(f"{str(found)[:80]} are no whole numbers from 0 to {most}")
    return found
