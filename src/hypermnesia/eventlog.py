"""events.jsonl: what happened in a run, one JSON object a line."""

import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from hypermnesia.events import Evaluated, Event, RunEnded, StepDone, TaskEnded, TaskStarted

LOGGED_EVERY = 20
"""Steps between two step events in the log."""

_NAMES: dict[type, str] = {
    TaskStarted: "task_started",
    StepDone: "step",
    Evaluated: "evaluated",
    TaskEnded: "task_ended",
    RunEnded: "run_ended",
}


def logged(event: Event) -> bool:
    """Whether the log holds `event`: of steps, one in `LOGGED_EVERY` and a phase's first and last; all others."""
    if not isinstance(event, StepDone):
        return True
    return event.step % LOGGED_EVERY == 0 or event.step in (1, event.steps)


def event_json(event: Event) -> dict[str, Any]:
    """An event as the log holds it. Reads tensors' values, so ask `logged` first."""
    if isinstance(event, StepDone):
        values = {
            "task": event.task,
            "phase": event.phase,
            "step": event.step,
            "steps": event.steps,
            "total_steps": event.total_steps,
            "loss": _number(event.loss),
            "terms": {name: _number(value) for name, value in event.terms.items()},
        }
    else:
        values = asdict(event)
    return {"event": _NAMES[type(event)], **values}


def _number(value: Tensor) -> float | None:
    """JSON has no NaN and no infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


class EventLog:
    """The log of a run, cut back to a checkpoint's `offset` (bytes) when the run resumes."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = open(path, "ab")  # noqa: SIM115 (closed by `close`)
        self._file.truncate(min(offset, self._file.tell()))
        self._file.seek(0, os.SEEK_END)

    def write(self, event: Event) -> None:
        """Append the event, if the log is to hold it."""
        if logged(event):
            record = {"time": round(time.time(), 3)} | event_json(event)
            self._file.write((json.dumps(record, separators=(",", ":")) + "\n").encode())

    def flush(self) -> int:
        """Bring everything to disk; returns the file's length."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
