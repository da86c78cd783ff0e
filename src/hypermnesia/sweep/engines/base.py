"""What runs the trials of a search: one protocol, one small file per engine."""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from hypermnesia.core.errors import RunFailed


class WorkerLost(RunFailed):
    """The process that ran a job ended without an answer; the text says how."""


class Engine(Protocol):
    """Runs jobs somewhere, several at a time.

    A job is a JSON text, and so is its answer: `hypermnesia.sweep.work.work` makes the one of the other, wherever
    the engine calls it.
    """

    name: str
    workers: int
    """Jobs that run side by side, ≥ 1."""
    threads: int | None
    """CPU threads of each job; None = torch's own choice there."""
    queues: bool
    """Whether it takes all jobs at once and queues them itself (a scheduler); else at most `workers` are given."""

    def check(self) -> None:
        """Raise `HypermnesiaError`, within 10 seconds, when what it needs is missing or cannot be reached."""
        ...

    def open(self, directory: Path) -> None:
        """Get ready; `directory` (the sweep's) takes what the engine writes, such as logs."""
        ...

    def submit(self, jobs: Sequence[str]) -> list[Future[str]]:
        """Start `jobs` and return their answers to be. A future raises `WorkerLost` if its job was lost for good."""
        ...

    def close(self) -> None:
        """Stop what still runs, letting it save itself, and free everything."""
        ...
