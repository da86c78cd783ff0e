"""What the loop tells its listeners, and how events.jsonl holds it: one JSON object a line.

Progress bars, logs, trackers and checkpoints read events; the loop knows none of them.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hypermnesia.evaluation.records import Row


@dataclass(frozen=True)
class TaskStarted:
    task: int
    name: str
    tasks: int
    """Tasks in the stream."""


@dataclass(frozen=True)
class StepDone:
    """After every optimizer step. Reading a tensor's value makes the host wait: do it now and then only."""

    task: int
    phase: str
    step: int
    """Steps done in this phase, from 1."""
    steps: int
    """Steps of the whole phase."""
    total_steps: int
    """Steps done in the whole run."""
    loss: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Evaluated:
    task: int
    """Tasks learned so far, minus one; −1 for the untrained network."""
    step: int | None
    """Step within the task for evaluations on the way; None at a task's end."""
    scenarios: Mapping[str, Row]
    """scenario → accuracy on every test part, in 0..1; None where it does not apply."""
    validation: Mapping[str, Row] | None = None
    """The same on the validation parts; then `scenarios` is empty: nothing is selected on test."""


@dataclass(frozen=True)
class TaskEnded:
    task: int
    seconds: float
    """Training time so far, evaluation excluded."""


@dataclass(frozen=True)
class RunEnded:
    steps: int
    seconds: float


Event = TaskStarted | StepDone | Evaluated | TaskEnded | RunEnded

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
