"""Jobs under way: given to an engine, their outcomes and files brought home."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path

from hypermnesia.errors import HypermnesiaError
from hypermnesia.experiment import Config
from hypermnesia.sweep.engine import Engine, WorkerLost
from hypermnesia.sweep.jobs import Job, Outcome

ATTEMPTS = 3
"""How often a job starts whose worker was told to stop, by somebody else than this search."""
POLL = 0.2
"""Seconds that `finished` waits for a job to end."""


class InFlight:
    """The jobs of one search that an engine is at, each under a number of the caller's."""

    def __init__(self, engine: Engine, root: Path, sweep_id: str, data_dir: Path | None, device: str) -> None:
        self._engine, self._root, self._id = engine, root.resolve(), sweep_id
        self._data_dir = None if data_dir is None else str(data_dir.resolve())
        self._device = device
        self._under_way: dict[Future[str], tuple[int, Job, int]] = {}

    def job(self, directory: str, cfg: Config, seeds: Sequence[int]) -> Job:
        """A job in `directory` (relative to the sweep's) that ends with test figures; a trial adds its objective."""
        return Job(
            root=str(self._root),
            sweep_id=self._id,
            directory=directory,
            config=cfg.to_toml(),
            seeds=tuple(seeds),
            data_dir=self._data_dir,
            device=self._device,
            threads=self._engine.threads,
        )

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def workers(self) -> int:
        """Jobs that run side by side."""
        return self._engine.workers

    @property
    def room(self) -> float:
        """How many more jobs the engine takes now."""
        return math.inf if self._engine.queues else self._engine.workers - len(self)

    def start(self, jobs: Mapping[int, Job], attempt: int = 1) -> None:
        """Give jobs to the engine, all at once."""
        if jobs:
            futures = self._engine.submit([job.to_json() for job in jobs.values()])
            for future, (number, job) in zip(futures, jobs.items(), strict=True):
                self._under_way[future] = number, job, attempt

    def finished(self) -> Iterator[tuple[int, Outcome]]:
        """The jobs that have come to an end, each once; waits a moment if there are none."""
        done, _ = wait(self._under_way, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            number, job, attempt = self._under_way.pop(future)
            outcome = _outcome(future)
            if outcome.state == "interrupted" and attempt < ATTEMPTS:
                self.start({number: job}, attempt + 1)
                continue
            if outcome.state == "interrupted":
                outcome = replace(outcome, state="failed", reason=f"{ATTEMPTS} times {outcome.reason}")
            _unpack(self._root / job.directory, outcome)
            yield number, outcome


def _outcome(future: "Future[str]") -> Outcome:
    try:
        return Outcome.from_json(future.result())
    except WorkerLost as lost:
        return Outcome(state="failed", reason=str(lost))


def _unpack(directory: Path, outcome: Outcome) -> None:
    """Write the files of a run that took place on another disk."""
    for name, content in outcome.files.items():
        path = (directory / name).resolve()
        if not path.is_relative_to(directory):
            raise HypermnesiaError(f"a worker sent a file named {name!r}, which lies outside of its run")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
