"""Jobs under way: given to an engine, their outcomes and files brought home."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, replace
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

    def __init__(
        self,
        engine: Engine,
        root: Path,
        sweep_id: str,
        data_dir: Path | None,
        device: str,
        together: int = 1,
    ) -> None:
        """`together`: how many jobs a worker takes at a time, to train them as one program."""
        self._engine, self._root, self._id = engine, root.resolve(), sweep_id
        self._data_dir = None if data_dir is None else str(data_dir.resolve())
        self._device = device
        self._together = together
        self._under_way: dict[Future[str], dict[int, tuple[Job, int]]] = {}
        """Each call of a worker: its jobs by number, and how often each has been started."""

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
        return sum(map(len, self._under_way.values()))

    @property
    def workers(self) -> int:
        """Jobs that run side by side."""
        return self._engine.workers

    @property
    def room(self) -> float:
        """How many more jobs the engine takes now."""
        if self._engine.queues:
            return math.inf
        return (self._engine.workers - len(self._under_way)) * self._together

    def start(self, jobs: Mapping[int, Job], attempt: int = 1) -> None:
        """Give jobs to the engine, all at once; the winner's, which are to be repeatable by themselves, one by one."""
        numbers = list(jobs)
        if not numbers:
            return
        together = 1 if any(job.objective is None for job in jobs.values()) else self._together
        size = max(1, min(together, math.ceil(len(numbers) / self._engine.workers)))
        groups = [numbers[i : i + size] for i in range(0, len(numbers), size)]
        for numbers, future in zip(
            groups, self._engine.submit([_asked(jobs, g) for g in groups]), strict=True
        ):
            self._under_way[future] = {number: (jobs[number], attempt) for number in numbers}

    def finished(self) -> Iterator[tuple[int, Outcome]]:
        """The jobs that have come to an end, each once; waits a moment if there are none."""
        done, _ = wait(self._under_way, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            asked = self._under_way.pop(future)
            for number, outcome in self._outcomes(future, asked):
                job, attempt = asked[number]
                if outcome.state == "interrupted" and attempt < ATTEMPTS:
                    self.start({number: job}, attempt + 1)
                    continue
                if outcome.state == "interrupted":
                    outcome = replace(outcome, state="failed", reason=f"{ATTEMPTS} times {outcome.reason}")
                _unpack(self._root / job.directory, outcome)
                yield number, outcome

    def _outcomes(
        self, future: "Future[str]", asked: Mapping[int, tuple[Job, int]]
    ) -> Iterator[tuple[int, Outcome]]:
        """What became of the jobs of one call. Those that were lost together are started again, each by itself, since one of
        them may have done it."""
        try:
            said = json.loads(future.result())
        except WorkerLost as lost:
            if len(asked) == 1:
                yield next(iter(asked)), Outcome(state="failed", reason=str(lost))
                return
            for number, (job, attempt) in asked.items():
                self.start({number: job}, attempt)
            return
        outcomes = said if isinstance(said, list) else [said]
        for number, values in zip(asked, outcomes, strict=True):
            yield number, Outcome.read(values)


def _asked(jobs: Mapping[int, Job], numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return jobs[numbers[0]].to_json()
    return json.dumps([asdict(jobs[number]) for number in numbers])


def _unpack(directory: Path, outcome: Outcome) -> None:
    """Write the files of a run that took place on another disk."""
    for name, content in outcome.files.items():
        path = (directory / name).resolve()
        if not path.is_relative_to(directory):
            raise HypermnesiaError(f"a worker sent a file named {name!r}, which lies outside of its run")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
