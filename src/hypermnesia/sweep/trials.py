"""The trials of a search: asked for, run by an engine, told.

Everything that matters is on disk at any time, so a search that was stopped goes on where it was: trials that are
finished stay, those that were interrupted resume from their checkpoints.

To be repeatable whatever the timing, an adaptive search asks for a trial when all but the latest workers − 1 trials
have been told, and tells no more before: results that come early wait their turn.
"""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import Config
from hypermnesia.sweep.engines.base import Engine, WorkerLost
from hypermnesia.sweep.jobs import TRIAL_FILE, Job, Outcome
from hypermnesia.sweep.plan import Plan

if TYPE_CHECKING:
    from hypermnesia.sweep.study import Bars, Begun, Search


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
        outcome = Outcome.from_json((directory / TRIAL_FILE).read_bytes())
    except (OSError, ValueError, TypeError, KeyError):
        return None  # it is run again, from its checkpoints
    return None if outcome.state == "interrupted" else outcome
