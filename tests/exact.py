"""Runs that are stopped, saved and resumed, and whether two runs are the same bit for bit."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hypermnesia.core.tensors import Tensors
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone, TaskEnded
from hypermnesia.training.loop import Fit

Make = Callable[[], Fit]
"""Builds the run anew, always the same."""


def silent(text: str) -> None:
    raise AssertionError(f"nothing was damaged, and yet: {text}")


def finished(make: Make) -> tuple[Fit, int]:
    """The run trained to its end, and at how many events it can be saved."""
    run, places = make(), 0
    for event in run:
        places += isinstance(event, StepDone | TaskEnded)
    return run, places


def resumed(make: Make, stops: Sequence[int], directory: Path) -> Fit:
    """The run saved at each of these events (counted from 0), dropped there and resumed by a fresh one."""
    count = -1
    for stop in stops:
        run = make()
        checkpoint.load(run, directory, silent)
        events = iter(run)
        for event in events:
            count += isinstance(event, StepDone | TaskEnded)
            if count == stop:
                checkpoint.save(run, directory)
                events.close()  # pyright: ignore[reportAttributeAccessIssue]
                break
    run = make()
    checkpoint.load(run, directory, silent)
    for _ in run:
        pass
    return run


def whole(run: Fit) -> tuple[Tensors, Any]:
    """Everything that a run is, but for the time it took: models, optimizers, states, generators, records."""
    run.records.seconds = 0.0
    return checkpoint.capture(run)


def assert_equal_runs(a: Fit, b: Fit) -> None:
    """Equal in every tensor, bit for bit, and in every number."""
    (first, form), (second, other) = whole(a), whole(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = value.dtype == second[name].dtype and torch.equal(value, second[name])
        assert same, f"{name}: {value.flatten()[:5]} and {second[name].flatten()[:5]}"
    assert form == other


def some_stops(places: int, count: int, seed: int) -> list[int]:
    """Random places to stop, the first one and each half's last among them."""
    chosen = random.Random(seed).sample(range(1, places - 1), min(count, places - 2))
    return sorted({0, places // 2, places - 1, *chosen})
