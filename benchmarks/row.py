"""A row of the benchmarks: two sides of one thing, and what their ratio should be."""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from benchmarks.measure import Budget, Make, clock, in_turn


class Absent(Exception):
    """A row cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    ours: str
    """What was measured, with its figure."""
    other: str
    """What it is compared with, with its figure."""
    ratio: str = ""
    wanted: str = ""
    met: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Side:
    """One of the things that are compared."""

    label: str
    make: Make
    times: int = 1
    """How often it does the thing when called once."""


@dataclass(frozen=True)
class Row:
    """Something to measure, by name."""

    name: str
    about: str
    run: Callable[[Budget], list[Result]]
    sides: tuple[Side, ...] = ()
    """For a contest: whose peak memory is measured apart."""
    peers: bool = field(default=False)
    """Whether it needs the peers' environment."""


def contest(
    name: str,
    about: str,
    ours: Side,
    other: Side,
    wanted: float | None = None,
    kind: Literal["faster", "cost"] = "faster",
    peers: bool = False,
    note: Callable[[], str] | None = None,
    threads: int | None = None,
) -> Row:
    """A row that times two sides in turn.

    `kind`: faster = how many times as fast ours is, wanted at least; cost = what ours costs in units of the other,
    wanted at most. `threads`: so many for both sides, or as many as there are cores, in place of those of the whole run, and
    the time on the clock in place of the processors': what is done side by side shows there alone, and needs a machine that
    does nothing else. With one core there is nothing to show, and processor time is taken.
    """

    def run(budget: Budget) -> list[Result]:
        many = None if threads is None else min(threads, len(os.sched_getaffinity(0)))
        if many is not None:
            torch.set_num_threads(many)
        steps = {side.label: side.make() for side in (ours, other)}
        times = {side.label: side.times for side in (ours, other)}
        found = in_turn(steps, budget, time.perf_counter if many is not None and many > 1 else clock, times)
        mine, theirs = found[ours.label], found[other.label]
        ratio = theirs.median / mine.median if kind == "faster" else mine.median / theirs.median
        quiet = theirs.least / mine.least if kind == "faster" else mine.least / theirs.least
        met = None if wanted is None else (ratio >= wanted if kind == "faster" else ratio <= wanted)
        sign = "≥" if kind == "faster" else "≤"
        return [
            Result(
                f"{ours.label} {milliseconds(mine.median)}",
                f"{other.label} {milliseconds(theirs.median)}",
                f"{ratio:.2f} ({quiet:.2f} at their fastest)",
                "" if wanted is None else f"{sign} {wanted:g}",
                met,
                "; ".join(
                    [
                        *([note()] if note else []),
                        *(
                            []
                            if many is None
                            else ["one thread" if many == 1 else f"{many} threads, by the clock"]
                        ),
                    ]
                ),
            )
        ]

    return Row(name, about, run, (ours, other), peers)


def milliseconds(seconds: float) -> str:
    """A time as text."""
    value = seconds * 1e3
    return f"{value:.3g} ms" if value >= 0.1 else f"{value * 1e3:.3g} µs"


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
