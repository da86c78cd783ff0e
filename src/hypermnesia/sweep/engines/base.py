"""What runs the jobs of a search: executors, as `concurrent.futures` has them, that say what a search must know."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

from hypermnesia.core.errors import RunFailed

T = TypeVar("T")
R = TypeVar("R")


class WorkerLost(RunFailed):
    """The process that ran a job ended without an answer; the text says how."""


class Engine(Executor):
    """An executor of jobs: `submit(fn, job)` runs `fn(job)` elsewhere, `shutdown` stops what still runs, letting it save itself.

    A future that raises has lost its worker, whatever the error (`WorkerLost` has the clearest words); the search gives its
    jobs out again. `submit` raises `HypermnesiaError` where nothing takes jobs any more: the search ends, and the same
    command goes on with it.
    """

    name: str
    workers: int
    """Jobs that run side by side, ≥ 1."""
    threads: int | None
    """CPU threads of each job; None = torch's own choice there."""
    queues: bool = False
    """Whether it takes all jobs at once and queues them itself (a scheduler); else about `workers` are given."""

    def check(self) -> None:
        """Raise `HypermnesiaError`, within 10 seconds, when what it needs is missing or cannot be reached."""

    def open(self, directory: Path) -> None:
        """Get ready; `directory` (the sweep's) takes what the engine writes, such as logs."""

    def submit_all(self, fn: Callable[[T], R], tasks: Sequence[T]) -> list[Future[R]]:
        """`submit` for each of some tasks, for engines that do better with many at once."""
        return [self.submit(fn, task) for task in tasks]
