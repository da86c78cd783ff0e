"""Small searches, and engines that need no processes."""

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hypermnesia.experiments.resolve import from_toml, resolve
from hypermnesia.sweep.jobs import Job, Outcome
from hypermnesia.sweep.work import work

TINY = ["train.iterations=5", "stream.samples_per_task=40", "stream.validation=0.2", "net.hidden=[20]"]
"""Words that make a run on digits last a fraction of a second."""


def job(root: Path, name: str, *words: str) -> str:
    """A trial of finetune on digits in `root`/`name`, with TINY and further words, which win."""
    (root / "search.json").write_text(json.dumps({"id": "x"}))
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
    ).to_json()


class Inline:
    """An engine in this very process: jobs run when they are given."""

    name = "inline"
    queues = False
    threads: int | None = 1

    def __init__(self, workers: int = 1, run: Callable[[str], str] = work) -> None:
        self.workers, self._run = workers, run
        self.batches: list[int] = []
        self.opened: list[Path] = []
        self.closed = 0

    def check(self) -> None:
        return

    def open(self, directory: Path) -> None:
        self.opened.append(directory)

    def submit(self, jobs: Sequence[str]) -> list[Future[str]]:
        self.batches.append(len(jobs))
        futures: list[Future[str]] = []
        for job in jobs:
            future: Future[str] = Future()
            try:
                future.set_result(self._run(job))
            except Exception as error:  # as a real engine would hand it on
                future.set_exception(error)
            futures.append(future)
        return futures

    def close(self) -> None:
        self.closed += 1


def pretended(text: str) -> str:
    """The outcome of a trial without any training: better the nearer the learning rate is to 0.01. The winner's runs
    are real."""
    job = Job.from_json(text)
    if job.objective is None:
        return work(text)
    lr = from_toml(job.config).sections["optimizer"].lr
    value = 1 - abs(math.log10(lr) + 2) / 10
    scores: list[float | None] = []
    for task in range(job.tasks):
        scores.append(value - task / 100)
        bar = job.bars[task] if job.bars else None
        if bar is not None and scores[-1] < bar:  # pyright: ignore[reportOptionalOperand]
            return Outcome(state="pruned", reason="below the median", scores=tuple(scores)).to_json()
    return Outcome(state="complete", value=value, seconds=1.0, scores=tuple(scores)).to_json()


def values(result: Any) -> list[tuple[int, dict[str, Any], float | None, str]]:
    """What two engines must agree on."""
    return [(t.number, t.settings, t.value, t.state) for t in result.trials]
