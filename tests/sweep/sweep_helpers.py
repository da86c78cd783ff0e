"""Small searches, and engines that need no processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hypermnesia.sweep.work import work

TINY = ["train.iterations=5", "stream.samples_per_task=40", "stream.validation=0.2", "net.hidden=[20]"]
"""Words that make a run on digits last a fraction of a second."""


class Inline:
    """An engine in this very process: jobs run when given, and end in the order that `order` makes of theirs."""

    name = "inline"
    queues = False
    threads: int | None = 1

    def __init__(self, workers: int = 1, run: Callable[[str], str] = work) -> None:
        self.workers, self._run = workers, run
        self.batches: list[int] = []
        self.opened: list[Path] = []
        self.closed = 0

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


def values(result: Any) -> list[tuple[int, dict[str, Any], float | None, str]]:
    """What two engines must agree on."""
    return [(t.number, t.settings, t.value, t.state) for t in result.trials]
