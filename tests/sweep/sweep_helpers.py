"""Small searches, and engines that need no processes."""

import math
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hypermnesia.core.files import write_json
from hypermnesia.evaluation.schema import Outcome
from hypermnesia.experiments.resolve import from_toml, resolve
from hypermnesia.sweep.engines.base import Engine
from hypermnesia.sweep.jobs import Job
from hypermnesia.sweep.work import work

TINY = ["train.iterations=5", "stream.samples_per_task=40", "stream.validation=0.2", "net.hidden=[20]"]
"""Words that make a run on digits last a fraction of a second."""


def job(root: Path, name: str, *words: str) -> Job:
    """A trial of finetune on digits in `root`/`name`, with TINY and further words, which win."""
    write_json(root / "search.json", {"id": "x"})
    said = {word.partition("=")[0] for word in words}
    tiny = [word for word in TINY if word.partition("=")[0] not in said and word.split(".")[0] not in said]
    cfg = resolve("split-digits", "finetune", [*tiny, *words])
    return Job(
        root=str(root),
        sweep_id="x",
        directory=name,
        config=cfg.to_toml(),
        seeds=(0,),
        objective="validation.scenarios.class.average_accuracy",
        tasks=5,
        threads=1,
    )


def alone(job: Job) -> Outcome:
    """The outcome of one job."""
    [outcome] = work([job])
    return outcome


class Inline(Engine):
    """An engine in this very process: jobs run when they are given, as `run` says."""

    name = "inline"
    threads: int | None = 1

    def __init__(self, workers: int = 1, run: Callable[[Job], Outcome] | None = None) -> None:
        self.workers, self._run = workers, run
        self.batches: list[int] = []
        self.opened: list[Path] = []
        self.closed = 0

    def open(self, directory: Path) -> None:
        self.opened.append(directory)

    def submit_all(self, fn: Callable[[Any], Any], tasks: Any) -> list[Future[Any]]:
        self.batches.append(len(tasks))
        return super().submit_all(fn, tasks)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            [jobs] = args
            future.set_result([self._run(job) for job in jobs] if self._run else fn(jobs))
        except Exception as error:  # as a real engine would hand it on
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        self.closed += 1


def pretended(job: Job) -> Outcome:
    """The outcome of a trial without any training: better the nearer the learning rate is to 0.01. The winner's runs
    are real."""
    if job.objective is None:
        return alone(job)
    lr = from_toml(job.config).sections["optimizer"].lr
    value = 1 - abs(math.log10(lr) + 2) / 10
    scores: list[float | None] = []
    for task in range(job.tasks):
        scores.append(value - task / 100)
        bar = job.bars[task] if job.bars else None
        if bar is not None and scores[-1] < bar:  # pyright: ignore[reportOptionalOperand]
            return Outcome(state="pruned", reason="below the median", scores=tuple(scores))
    return Outcome(state="complete", value=value, seconds=1.0, scores=tuple(scores))


def values(result: Any) -> list[tuple[int, dict[str, Any], float | None, str]]:
    """What two engines must agree on."""
    return [(t.number, t.settings, t.value, t.state) for t in result.trials]
