"""What the default number of threads is worth beside `train.threads=1`, on a quiet machine and beside a busy process."""

import os
import subprocess
import sys
import time
from itertools import islice
from statistics import median

from benchmarks.measure import Budget
from benchmarks.row import Result, Row

ROUNDS = 3
WARM = 30
"""Steps before timing begins: the first one chooses the threads."""


def speed(approach: str, threads: str, seconds: float) -> float:
    """Steps per second by the clock, in this process, whose threads wait as those of the command."""
    from hypermnesia.training.threads import quieten

    quieten()  # before torch is loaded
    from benchmarks.ours import split_stream
    from hypermnesia.experiments.build import assemble
    from hypermnesia.experiments.resolve import resolve
    from hypermnesia.training.events import StepDone

    words = ["train.iterations=1000000", "evaluate.every=end", f"train.threads={threads}"]
    words += ["memory.size=200"] if approach == "er" else []
    run = assemble(resolve("split-mnist", approach, words), split_stream(5, 2, each=600))
    steps = (event for event in run if isinstance(event, StepDone))
    list(islice(steps, WARM))
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(steps)
        done += 1
    return done / (time.perf_counter() - began)


def beside_one_thread(approach: str, busy: bool) -> Row:
    def run(budget: Budget) -> list[Result]:
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        rates: dict[str, list[float]] = {"auto": [], "1": []}
        spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"])] if busy else []
        try:
            for _ in range(ROUNDS):
                for threads, found in rates.items():
                    command = [sys.executable, "-m", "benchmarks.rows.threads", approach, threads]
                    seconds = str(budget.seconds / ROUNDS)
                    done = subprocess.run(
                        [*command, seconds], env=environment, stdout=subprocess.PIPE, text=True, check=True
                    )
                    found.append(float(done.stdout.splitlines()[-1]))
        finally:
            for process in spinning:
                process.kill()
                process.wait()
        auto, one = median(rates["auto"]), median(rates["1"])
        wanted = 0.8 if busy else 1.1
        load = os.getloadavg()[0]
        return [
            Result(
                f"default threads {auto:.0f} steps/s",
                f"one thread {one:.0f} steps/s",
                f"{auto / one:.2f}",
                f"≥ {wanted:g}",
                auto / one >= wanted,
                f"{len(os.sched_getaffinity(0))} cores, by the clock, load of the machine {load:.1f}",
            )
        ]

    kind = "busy" if busy else "quiet"
    about = f"{approach} at the default number of threads, S-MNIST, " + (
        "beside a busy process" if busy else "nothing beside it"
    )
    return Row(f"threads-{approach}-{kind}", about, run)


ROWS = tuple(beside_one_thread(approach, busy) for busy in (True, False) for approach in ("er", "hnet"))

if __name__ == "__main__":
    print(speed(sys.argv[1], sys.argv[2], float(sys.argv[3])))
