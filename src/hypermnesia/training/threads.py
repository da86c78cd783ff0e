"""How many CPU threads a run takes: one, or all that there are where its steps are faster with them.

Threads wait for one another after every operation. Where another process has a core, the partner is not running, and a
waiting thread that spins keeps it from running: a step on all cores then takes ten times as long as on one. So the first
step of a run is timed both ways, and `quieten` sets a waiting policy before torch is loaded.
"""

import os
import time
from collections.abc import Callable
from statistics import median

PAYS = 1.15
"""All cores are taken where a step is at least so many times as fast: one thread leaves room for others."""
TRIES, SECONDS = 5, 0.5
"""Steps timed each way at most, and the time after which no further one is begun."""


def quieten() -> None:
    """Set how threads wait, unless the user has; of use only before torch is loaded.

    On an idle machine they spin for a moment, since a sleeping thread wakes slowly; beside others they sleep.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    if others_run():
        os.environ["OMP_WAIT_POLICY"] = "passive"
    else:
        os.environ["GOMP_SPINCOUNT"] = "20000"


def others_run() -> bool:
    """Whether another process is running or has been for most of the last minute; False where that cannot be told."""
    try:
        with open("/proc/loadavg") as file:
            minute, _, _, tasks, _ = file.read().split()
    except (OSError, ValueError):
        return False
    return float(minute) > 0.5 or int(tasks.partition("/")[0]) > 1


def faster(step: Callable[[], object], set_threads: Callable[[int], None], most: int) -> int:
    """1, or `most` where `step`, which can be repeated without effect, is then `PAYS` times as fast.

    `set_threads` is called with what is to be tried, and last with the answer.
    """
    if most == 1:
        return 1
    counts, times = (1, most), {1: [], most: []}
    began = time.perf_counter()
    for number in range(TRIES + 1):
        for count in counts:
            set_threads(count)
            started = time.perf_counter()
            step()
            if number:  # the first of each warms up
                times[count].append(time.perf_counter() - started)
        if number and time.perf_counter() - began > SECONDS:
            break
    chosen = most if median(times[1]) >= PAYS * median(times[most]) else 1
    set_threads(chosen)
    return chosen
