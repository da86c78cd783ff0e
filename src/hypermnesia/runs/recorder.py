"""A run in its directory while it trains: events are written down, and it is saved now and then and when asked to stop.

Signals that ask a run to stop are held back until it has saved itself.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs.directory import Unusable, write_json
from hypermnesia.runs.results import result_of, start_peak
from hypermnesia.training import checkpoint, guards
from hypermnesia.training.events import Event, EventLog, StepDone, TaskEnded
from hypermnesia.training.loop import Fit

Listener = Callable[[Event], None]


class Interrupted(HypermnesiaError):
    """A run that was asked to stop and has saved itself; or several, which trained together."""

    def __init__(self, number: int, *directories: Path) -> None:
        how = f"hypermnesia resume {directories[0]}"
        if len(directories) > 1:
            how = "the same command, or hypermnesia resume for each of " + ", ".join(map(str, directories))
        super().__init__(f"stopped by {signal.Signals(number).name}; go on with: {how}")
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
    ) -> None:
        self._run, self._saves, self._every, self._log = run, saves, every, log
        self._listener, self._asked = listener, asked
        self._last = time.monotonic()
        self.result: dict[str, Any] = {}
        """What was written as result.json; empty until the run has ended."""

    def hear(self, event: Event) -> bool:
        """Write an event down. True: the run was asked to stop, and has been saved."""
        self._log.write(event)
        if self._listener is not None:
            self._listener(event)
        asked, due = bool(self._asked), time.monotonic() - self._last >= self._every
        if not (isinstance(event, TaskEnded) or (isinstance(event, StepDone) and (asked or due))):
            return False
        checkpoint.save(self._run, self._saves, {"events": self._log.flush()})
        self._last = time.monotonic()
        return asked


@contextlib.contextmanager
def recording(
    run: Fit, cfg: Config, seed: int, directory: Path, listener: Listener | None, asked: Sequence[int]
) -> Iterator[Recorder]:
    """Bring `run` to its last checkpoint, and keep its directory within the block; at the end of that, its result.

    Raises `Unusable` where it can neither begin nor go on, and `RunFailed`, with what to do, for failures within.
    """
    saves = directory / "checkpoint"
    start_peak(run.learner.device)
    try:
        extra = checkpoint.load(run, saves, reporter(directory))
        if extra is None and not len(run.stream.tasks[0].train):
            raise Unusable(
                f"{directory} has no sound checkpoint, and the data of its first tasks are not at hand"
            )
        log = EventLog(directory / "events.jsonl", extra["events"] if extra else 0)
        with guards.told(f"{directory}: a step", RunFailed), contextlib.closing(log):
            kept = Recorder(run, saves, cfg.sections["checkpoint"].every, log, listener, asked)
            yield kept
        kept.result = result_of(run, cfg, seed)
        write_json(directory / "result.json", kept.result)
    except _Told:
        raise
    except RunFailed as error:
        if error.of not in (None, run):
            raise  # another one's, which trained beside this one
        found = sorted(saves.glob("*.json"))
        where = f"the last good checkpoint is {found[-1]}" if found else "no checkpoint had been written yet"
        told = _Told(f"{error}; {where}")
        told.of = error.of
        raise told from error
    except BrokenPipeError:
        raise  # whoever read our output has gone; the disk is sound
    except OSError as error:
        fault = error.strerror or str(error)
        raise _Told(
            f"{directory}: {fault}; that mended, go on with: hypermnesia resume {directory}"
        ) from error


def reporter(directory: Path) -> Callable[[str], None]:
    """Says something about a run's directory on standard error."""
    return lambda text: print(f"hypermnesia: {directory}: {text}", file=sys.stderr)


@contextlib.contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one kills as usual."""
    asked: list[int] = []
    old: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, old[number])

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
