"""The trials of a search: asked for, run by an engine, told.

Everything that matters is on disk at any time, so a search that was stopped goes on where it was: trials that are
finished stay, those that were interrupted resume from their checkpoints.

To be repeatable whatever the timing, an adaptive search asks for a trial when all but the latest workers − 1 trials
have been told, and tells no more before: results that come early wait their turn.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypermnesia.sweep.inflight import InFlight
from hypermnesia.sweep.jobs import TRIAL_FILE, Job, Outcome
from hypermnesia.sweep.plan import Plan
from hypermnesia.sweep.search import Search
from hypermnesia.sweep.space import Settings


class Driver:
    """Runs the trials of a plan in `root`/trials/NNNN."""

    def __init__(self, plan: Plan, search: Search, jobs: InFlight, root: Path) -> None:
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
        begun = dict(self._search.unfinished())
        self._untold = list(begun)
        for number in begun:
            if (outcome := _recalled(self._root / _directory(number))) is not None:
                self.outcomes[number] = outcome
        self._jobs.start({n: self._job(n, begun[n]) for n in begun if n not in self.outcomes})

    def _begin(self) -> None:
        """Begin as many trials as there is room for and are still to be made."""
        fresh: dict[int, Job] = {}
        while len(fresh) < self._jobs.room and self._search.count() < self._plan.trials:
            if self._plan.adaptive and not self._ready():
                break
            number, settings = self._search.ask()
            if number >= self._plan.trials:  # another machine asked in the same moment
                self._search.tell(number, Outcome(state="failed", reason="one more than were asked for"))
                break
            self._untold.append(number)
            fresh[number] = self._job(number, settings)
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

    def _job(self, number: int, settings: Settings) -> Job:
        plan, options = self._plan, self._plan.problem.options
        judged = plan.judged()
        bars = self._search.bars(len(judged)) if plan.prunes else ()
        return replace(
            self._jobs.job(_directory(number), plan.problem.trial(settings), options.seeds),
            objective=plan.objective.path,
            scenario=plan.objective.scenario,
            tasks=plan.tasks,
            bars=tuple(bar if may else None for bar, may in zip(bars, judged, strict=False)),
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
