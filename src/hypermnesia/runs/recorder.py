"""A run in its directory while it trains: events are written down, and it is saved now and then and when asked to stop.

Signals that ask a run to stop are held back until it has saved itself. Only work that can be done again without a trace,
such as an evaluation, is left in the middle.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.files import clear_abandoned
from hypermnesia.evaluation.event_lines import sound_lines
from hypermnesia.evaluation.schema import Result, write_record
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs import bound
from hypermnesia.runs.directory import Unusable, reporter
from hypermnesia.runs.results import result_of, start_peak, trainable_parameters
from hypermnesia.training import checkpoint, events, guards
from hypermnesia.training.events import Evaluated, Event, EventLog, RunBegun, StepDone, TaskEnded
from hypermnesia.training.loop import Fit

Listener = Callable[[Event], None]
EVENTS = "events.jsonl"


class Interrupted(HypermnesiaError):
    """A run that was asked to stop and has saved itself; or several, which trained together."""

    def __init__(self, number: int, *directories: Path, how: str = "") -> None:
        """`how`: what to go on with, where that is not the directories' own `resume`."""
        each = (
            "the same command, or hypermnesia resume for each of "
            if len(directories) > 1
            else "hypermnesia resume "
        )
        how = how or each + ", ".join(map(str, directories))
        super().__init__(f"stopped by {signal.Signals(number).name}; go on with: {how}")
        self.number = number
        self.exit_code = 128 + number


class _Told(RunFailed):
    """A failure whose text says already where to go on."""


class Recorder:
    """What hears the events of one run; `asked` are the signals that have asked it to stop."""

    def __init__(
        self,
        run: Fit,
        saves: Path,
        every: float,
        log: EventLog,
        listener: Listener | None,
        asked: Sequence[int],
        extra: Mapping[str, Any],
    ) -> None:
        """`extra`: what is saved beside the run's state and the log's, as JSON."""
        self._run, self._saves, self._every, self._log = run, saves, every, log
        self._listener, self._asked, self._extra = listener, asked, extra
        self._last = time.monotonic()
        self.result: dict[str, Any] = {}
        """What was written as result.json; empty until the run has ended."""

    def hear(self, event: Event) -> bool:
        """Write an event down. True: the run was asked to stop, and has been saved."""
        self.note(event)
        if not (isinstance(event, TaskEnded) or (isinstance(event, StepDone) and self.due())):
            return False
        asked = bool(self._asked)
        self.save()
        return asked

    def note(self, event: Event) -> None:
        """Write an event down, and save nothing."""
        self._log.write(event)
        if self._listener is not None:
            self._listener(event)

    def due(self) -> bool:
        """Whether the next step is one to save after."""
        return bool(self._asked) or time.monotonic() - self._last >= self._every

    def save(self, keep: bool = False, **more: Any) -> str:
        """Write a checkpoint, and `more` with it; returns its name. `keep`: earlier ones, too, however many."""
        extra = {**self._extra, **self._log.flush(), **more}
        try:
            path = checkpoint.save(self._run, self._saves, extra, keep)
        except RunFailed as error:
            error.of = self._run
            raise
        self._last = time.monotonic()
        return path.stem


@contextlib.contextmanager
def recording(
    run: Fit,
    cfg: Config,
    seed: int,
    directory: Path,
    listener: Listener | None,
    asked: Sequence[int],
    newest: str | None = None,
    stack: Sequence[str] = (),
) -> Iterator[Recorder]:
    """Bring `run` to its last checkpoint, and keep its directory within the block; at the end of that, its result.

    `newest`: the name of the last checkpoint that may be used; "" for none. `stack`: the directories of the runs that
    train as one program with this one, in their order. Raises `Unusable` where it can neither begin nor go on, and
    `RunFailed`, with what to do, for failures within.
    """
    saves = directory / "checkpoint"
    start_peak(run.learner.device)
    try:
        clear_abandoned(directory / "result.json", alone=True)
        extra = _restored(run, directory, newest)
        if extra is None and not len(run.stream.tasks[0].train):
            raise Unusable(
                f"{directory} has no sound checkpoint, and the data of its first tasks are not at hand"
            )
        about = {bound.KEY: bound.binding(directory)} | ({"stack": list(stack)} if stack else {})
        log = _log(run, directory / EVENTS, extra, reporter(directory))
        with guards.told(f"{directory}: a step", RunFailed), contextlib.closing(log):
            if listener is not None:
                moved = trainable_parameters(run.learner.model)
                listener(RunBegun(moved, len(run.stream.tasks), run.train))
            kept = Recorder(run, saves, cfg.sections["checkpoint"].every, log, listener, asked, about)
            yield kept
            log.flush()  # or a power cut leaves a result beside a log without its end
        kept.result = result_of(run, cfg, seed)
        write_record(directory / "result.json", Result, kept.result)
        checkpoint.drop(saves, before=max((path.stem for path in saves.glob("*.json")), default=""))
    except _Told:
        raise
    except RunFailed as error:
        if error.of not in (None, run):
            raise  # another one's, which trained beside this one
        found = sorted(saves.glob("*.json"))
        where = f"the last good checkpoint is {found[-1]}" if found else "no checkpoint had been written yet"
        told = _Told(f"{error}; {where}")
        told.of, told.among = error.of, error.among
        raise told from error
    except BrokenPipeError:
        raise  # whoever read our output has gone; the disk is sound
    except OSError as error:
        reason = error.strerror or str(error)
        raise _Told(
            f"{directory}: {reason}; that mended, go on with: hypermnesia resume {directory}"
        ) from error


# ------------------------------------------------------------------------------------------------ going on


def _restored(run: Fit, directory: Path, newest: str | None) -> dict[str, Any] | None:
    """Restore the last checkpoint that may be used and whose part of the log is sound; what was saved with it."""
    saves, report = directory / "checkpoint", reporter(directory)
    found = [(p, extra) for p, extra in checkpoint.extras(saves) if newest is None or p.stem <= newest]
    faults = [events.fault(directory / EVENTS, extra) for _, extra in found]
    if found and faults[0] is not None and None in faults:
        at = faults.index(None)
        newest = found[at][0].stem
        report(f"{EVENTS} {faults[0]}; going on from the checkpoint before, which it fits")
    return checkpoint.load(run, saves, report, bound.check(directory, report), newest)


def _log(run: Fit, path: Path, extra: Mapping[str, Any] | None, report: Callable[[str], None]) -> EventLog:
    """The log as it was when the checkpoint was written; or what is left of it, with what the checkpoint still knows."""
    if extra is None:
        return EventLog(path, 0)
    wrong = events.fault(path, extra)
    if wrong is None:
        if not events.ends_whole(path):
            report(f"the torn last line of {EVENTS} is cut off")
        return EventLog(path, int(extra["events"]))
    length = events.sound_length(path, int(extra["events"]))
    report(
        f"{EVENTS} {wrong}; its first {length} bytes are kept, and the evaluations after them put back from the "
        "checkpoint: losses are missing, results are not"
    )
    log = EventLog(path, length)
    kept = {
        line["task"] for line in sound_lines(path) if line["event"] == "evaluated" and line["step"] is None
    }
    for event in _evaluations(run):
        if event.task not in kept:
            log.write(event)
    return log


def _evaluations(run: Fit) -> Iterator[Evaluated]:
    """What has been measured at the ends of the run's tasks, as it was announced."""
    records = run.records
    if records.baseline:
        yield Evaluated(-1, None, records.baseline)
    for task in range(run.position.task):
        rows, checked = (
            {name: matrix[task] for name, matrix in found.items() if task < len(matrix) and any(matrix[task])}
            for found in (records.rows, records.validation)
        )
        if rows or checked:
            yield Evaluated(task, None, rows, checked or None)


# ---------------------------------------------------------------------------------------------- being asked


@contextlib.contextmanager
def asked_to_stop(*runs: Fit) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one kills as usual.

    Work of `runs` that may be left in the middle is left at once, by `Abandoned`.
    """
    asked: list[int] = []
    old: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, old[number])
        for run in runs:
            run.leave()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not the main thread: signals go to the program that runs us
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
