"""The trials of a search: asked for, run by an engine, told.

Everything that matters is on disk at any time, so a search that was stopped goes on where it was: trials that are
finished stay, those that were interrupted resume from their checkpoints.

To be repeatable whatever the timing, an adaptive search asks for a trial when all but the latest workers − 1 trials
have been told, and tells no more before: results that come early wait their turn.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypermnesia.sweep.inflight import InFlight
from hypermnesia.sweep.jobs import TRIAL_FILE, Job, Outcome
from hypermnesia.sweep.plan import Plan

if TYPE_CHECKING:
    from hypermnesia.sweep.search import Bars, Begun, Search


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
