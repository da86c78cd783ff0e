"""The trials of a search: asked for, run by an engine, told.

Everything that matters is on disk at any time, so a search that was stopped goes on where it was: trials that are
finished stay, those that were interrupted resume from their checkpoints.

To be repeatable whatever the timing, an adaptive search asks for a trial when all but the latest workers − 1 trials
have been told, and tells no more before: results that come early wait their turn.
"""

import base64
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.evaluation.schema import Damaged, Outcome, read_record
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs.directory import Unusable, environment_of
from hypermnesia.sweep.engines.base import Engine
from hypermnesia.sweep.jobs import TRIAL_FILE, Job
from hypermnesia.sweep.plan import Plan
from hypermnesia.sweep.work import work

if TYPE_CHECKING:
    from hypermnesia.sweep.study import Bars, Begun, Search


ATTEMPTS = 3
"""How often a job starts without getting any further, when it is stopped by others than this search or loses its worker."""
POLL = 0.2
"""Seconds that `finished` waits for a job to end."""


@dataclass(frozen=True)
class _Call:
    """What a worker is at: jobs under their numbers."""

    jobs: Mapping[int, Job]
    attempt: int
    saved: frozenset[Path] = frozenset()
    """The checkpoints and results that were there before."""


class InFlight:
    """The jobs of one search that an engine is at, each under a number of the caller's."""

    def __init__(
        self, engine: Engine, root: Path, sweep_id: str, data_dir: Path | None, device: str, together: int = 1
    ) -> None:
        """`together`: how many jobs a worker takes at a time, to train them as one program."""
        self._engine, self._root, self._id = engine, root.resolve(), sweep_id
        self._data_dir = None if data_dir is None else str(data_dir.resolve())
        self._device = device
        self._together = together
        self._waiting: deque[_Call] = deque()
        self._under_way: dict[Future[list[Outcome]], _Call] = {}

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
        return sum(len(call.jobs) for call in (*self._under_way.values(), *self._waiting))

    @property
    def workers(self) -> int:
        """Jobs that run side by side."""
        return self._engine.workers

    @property
    def room(self) -> float:
        """How many more jobs the engine takes now."""
        if self._engine.queues:
            return math.inf
        return (self._engine.workers - len(self._under_way) - len(self._waiting)) * self._together

    def start(self, jobs: Mapping[int, Job]) -> None:
        """Give jobs to the engine, all at once; the winner's, which are to be repeatable by themselves, one by one."""
        together = 1 if any(job.objective is None for job in jobs.values()) else self._together
        before: dict[tuple[Any, ...], dict[int, Job]] = {}
        for number, job in jobs.items():
            before.setdefault(self._beside(job) if together > 1 else (), {})[number] = job
        fresh = before.pop((), {})
        size = max(1, min(together, math.ceil(len(fresh) / self._engine.workers)))
        numbers = list(fresh)
        groups = [{n: fresh[n] for n in numbers[i : i + size]} for i in range(0, len(numbers), size)]
        self._waiting += (_Call(group, 1) for group in (*before.values(), *groups))
        self._submit()

    def _beside(self, job: Job) -> tuple[Any, ...]:
        """The runs with which the job's own began, as one program: they go on together, to the same bits. Empty if none."""
        try:
            first = self._root / job.directory / f"seed-{job.seeds[0]}"
            return tuple(environment_of(first).get("stacked_with", ()))
        except Unusable:
            return ()  # it has not begun, or cannot be gone on with

    def finished(self) -> Iterator[tuple[int, Outcome]]:
        """The jobs that have come to an end, each once; waits a moment if there are none.

        Those that could not go on for no reason of their own are given out again. Raises `RunFailed` when that does
        not help, for them to go on another time; but a trial that always loses its worker has failed.
        """
        done, _ = wait(self._under_way, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            call = self._under_way.pop(future)
            try:
                outcomes = dict(zip(call.jobs, future.result(), strict=True))
            except Exception as error:  # whatever an engine says when a worker, node or connection is gone
                kind = "" if isinstance(error, HypermnesiaError) else f"{type(error).__name__}: "
                if not self._again(call, call.jobs):
                    lost = Outcome(state="failed", reason=f"{ATTEMPTS} times {kind}{error}")
                    yield from ((number, lost) for number in call.jobs)
                continue
            left = {n: call.jobs[n] for n, outcome in outcomes.items() if outcome.state == "interrupted"}
            if left and not self._again(call, left):
                stopped = next(outcomes[number].reason for number in left)
                raise RunFailed(
                    f"the search cannot go on: {stopped}; that mended, the same command goes on with it"
                )
            for number, outcome in outcomes.items():
                if number not in left:
                    _unpack(self._root / call.jobs[number].directory, outcome)
                    yield number, outcome
        self._submit()

    def _again(self, call: _Call, jobs: Mapping[int, Job]) -> bool:
        """Give out again what is left of a call; False if it has not come any further for `ATTEMPTS` times.

        Jobs that trained together do so again, for the same results, but for the last time: one of them may have done it.
        """
        attempt = 1 if self._saved(call.jobs) - call.saved else call.attempt + 1
        if attempt > ATTEMPTS:
            return False
        groups = [{n: job} for n, job in jobs.items()] if attempt == ATTEMPTS else [jobs]
        self._waiting += (_Call(group, attempt) for group in groups)
        return True

    def _submit(self) -> None:
        """Give the engine what it takes now."""
        free = len(self._waiting) if self._engine.queues else self._engine.workers - len(self._under_way)
        calls = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        calls = [replace(call, saved=self._saved(call.jobs)) for call in calls]
        if calls:
            futures = self._engine.submit_all(work, [tuple(call.jobs.values()) for call in calls])
            self._under_way |= dict(zip(futures, calls, strict=True))

    def _saved(self, jobs: Mapping[int, Job]) -> frozenset[Path]:
        """The checkpoints and results of jobs, as far as they lie on a disk that is seen from here."""
        directories = [self._root / job.directory for job in jobs.values()]
        patterns = ("seed-*/checkpoint/*.json", "seed-*/result.json")
        return frozenset(
            path for where in directories for pattern in patterns for path in where.glob(pattern)
        )


def _unpack(directory: Path, outcome: Outcome) -> None:
    """Write the files of a run that took place on another disk."""
    for name, content in outcome.files.items():
        path = (directory / name).resolve()
        if not path.is_relative_to(directory):
            raise HypermnesiaError(f"a worker sent a file named {name!r}, which lies outside of its run")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))


class Driver:
    """Runs the trials of a plan in `root`/trials/NNNN."""

    def __init__(self, plan: Plan, search: "Search", jobs: InFlight, root: Path) -> None:
        self._plan, self._search, self._jobs, self._root = plan, search, jobs, root
        self._untold: list[int] = []
        """Trials that were begun and not told, in their order."""
        self.outcomes: dict[int, Outcome] = {}
        """Of these, the ones that are finished."""

    def run(self, show: Callable[[], None]) -> None:
        """Bring all trials to their end. `show` is called after every change and several times a second; what it
        raises ends the search here, to go on another time."""
        self._take_up()
        while True:
            self._begin()
            show()
            if not self._jobs:
                break
            for number, outcome in self._jobs.finished():
                self.outcomes[number] = outcome
                if not self._plan.adaptive:
                    self._tell(number)
        while self._untold:
            self._tell(self._untold[0])
        show()

    def _take_up(self) -> None:
        """Go on with what an earlier process left unfinished."""
        begun = self._search.unfinished()
        self._untold = [trial.number for trial in begun]
        for trial in begun:
            if (outcome := _recalled(self._root / _directory(trial.number))) is not None:
                self.outcomes[trial.number] = outcome
        self._jobs.start({t.number: self._job(t) for t in begun if t.number not in self.outcomes})

    def _begin(self) -> None:
        """Begin as many trials as there is room for and are still to be made."""
        fresh: dict[int, Job] = {}
        while len(fresh) < self._jobs.room and self._search.count() < self._plan.trials:
            if self._plan.adaptive and not self._ready():
                break
            trial = self._search.ask(self._bars())
            if trial.number >= self._plan.trials:  # another machine asked in the same moment
                self._search.tell(
                    trial.number, Outcome(state="failed", reason="one more than were asked for")
                )
                break
            self._untold.append(trial.number)
            fresh[trial.number] = self._job(trial)
        self._jobs.start(fresh)

    def _ready(self) -> bool:
        """Tell just as many results as the next trial of an adaptive search is to know; whether they are there."""
        while len(self._untold) >= self._jobs.workers:
            if self._untold[0] not in self.outcomes:
                return False
            self._tell(self._untold[0])
        return True

    def _tell(self, number: int) -> None:
        self._search.tell(number, self.outcomes.pop(number))
        self._untold.remove(number)

    def _bars(self) -> "Bars":
        """What the next trial is held against."""
        if not self._plan.prunes:
            return ()
        judged = self._plan.judged()
        medians = self._search.bars(len(judged))
        return tuple(bar if may else None for bar, may in zip(medians, judged, strict=True))

    def _job(self, trial: "Begun") -> Job:
        plan = self._plan
        return replace(
            self._jobs.job(
                _directory(trial.number), plan.problem.trial(trial.settings), plan.problem.options.seeds
            ),
            objective=plan.objective.path,
            scenario=plan.objective.scenario,
            tasks=plan.tasks,
            bars=trial.bars,
        )


def _directory(number: int) -> str:
    return f"trials/{number:04d}"


def _recalled(directory: Path) -> Outcome | None:
    """The outcome of a trial that was finished and not told; None if it was not finished."""
    try:
        outcome = read_record(directory / TRIAL_FILE, Outcome)
    except Damaged:
        return None  # it is run again, from its checkpoints
    return None if outcome.state == "interrupted" else outcome
