"""Trials of a search: two one-thread workers beside one."""

import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Budget
from benchmarks.row import Absent, Result, Row
from hypermnesia.experiments.resolve import resolve
from hypermnesia.sweep import Local
from hypermnesia.sweep.jobs import Job
from hypermnesia.sweep.work import work

WORDS = ("train.iterations=100", "stream.first_tasks=5", "stream.validation=0.1")
EACH = 4
"""Trials that a worker gets in a round."""


def workers(budget: Budget) -> list[Result]:
    """Trials per minute of wall-clock time, in turn; other load on the machine shows in it."""
    if len(os.sched_getaffinity(0)) < 2:
        raise Absent("it takes two processors")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "search.json").write_text(json.dumps({"id": "benchmark"}))
        engines = {count: Local(workers=count, threads=1) for count in (1, 2)}
        rates: dict[int, list[float]] = {count: [] for count in engines}
        try:
            for count, engine in engines.items():
                engine.open(root)
                _rate(engine, root, f"warm-{count}", count)  # every worker starts with its first job
            began = time.perf_counter()
            for turn in range(budget.most):
                for count, engine in engines.items():
                    rates[count].append(_rate(engine, root, f"{turn}-{count}", count * EACH))
                if turn >= 2 and time.perf_counter() - began > 2 * budget.seconds:
                    break
        finally:
            for engine in engines.values():
                engine.shutdown()
    one, two = max(rates[1]), max(rates[2])
    return [
        Result(
            f"two workers {60 * two:.0f} trials a minute",
            f"one worker {60 * one:.0f} trials a minute",
            f"{two / one:.2f} at their fastest",
            "≥ 1.7",
            two / one >= 1.7,
            f"load of the machine {os.getloadavg()[0]:.1f}",
        )
    ]


def _rate(engine: Local, root: Path, name: str, jobs: int) -> float:
    """Trials per second."""
    made = [_job(root, f"{name}-{number}") for number in range(jobs)]
    began = time.perf_counter()
    for future in engine.submit_all(work, [(job,) for job in made]):
        [outcome] = future.result()
        if outcome.state != "complete":
            raise RuntimeError(outcome.reason)
    return jobs / (time.perf_counter() - began)


def _job(root: Path, name: str) -> Job:
    cfg = resolve("permuted-digits", "hnet", WORDS)
    return Job(
        root=str(root),
        sweep_id="benchmark",
        directory=name,
        config=cfg.to_toml(),
        seeds=(0,),
        objective="validation.scenarios.task.average_accuracy",
        tasks=5,
        threads=1,
    )


ROWS = (Row("sweep", "trials of a search: two one-thread workers", workers),)
