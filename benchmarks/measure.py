"""Timing that a busy machine disturbs least: the sides in turn, in one process, by their own processor time."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Step = Callable[[], object]
Make = Callable[[], Step]
"""Sets one side up; what it returns does the measured thing once."""
SAMPLE = 0.005
"""Seconds that one timing should last at least: shorter things are done several times in it."""


@dataclass(frozen=True)
class Budget:
    """How long a row may take."""

    seconds: float = 8.0
    """For the timed part of each side."""
    least: int = 5
    """Timings of each side at least."""
    most: int = 60


@dataclass(frozen=True)
class Timing:
    """Seconds for doing it once."""

    median: float
    least: float


def processor_time() -> float:
    """Seconds of processor time of this process and its finished children, all threads together."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def clock() -> float:
    """As `processor_time`, but finer, without children."""
    return time.process_time()


def in_turn(
    sides: Mapping[str, Step],
    budget: Budget,
    now: Callable[[], float] = clock,
    times: Mapping[str, int] | None = None,
) -> dict[str, Timing]:
    """The sides' timings, taken round after round so that whatever disturbs one disturbs all.

    `times`: how often the side does the thing when called once (evaluations of many images, many seeds).
    """
    loops = {}
    for name, step in sides.items():
        for _ in range(3):
            step()
        began = time.perf_counter()  # a clock of processor time may stand still for as long as a step takes
        step()
        loops[name] = max(1, round(SAMPLE / max(time.perf_counter() - began, 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.disable()
    try:
        spent = 0.0
        while len(next(iter(found.values()))) < budget.most:
            for name, step in sides.items():
                began = now()
                for _ in range(loops[name]):
                    step()
                taken = now() - began
                spent += taken
                found[name].append(taken / loops[name] / (times or {}).get(name, 1))
            if spent > budget.seconds * len(sides) and len(next(iter(found.values()))) >= budget.least:
                break
    finally:
        gc.enable()
    return {name: Timing(statistics.median(values), min(values)) for name, values in found.items()}
