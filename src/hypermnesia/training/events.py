"""What the loop tells its listeners, and how events.jsonl holds it: one JSON object a line.

Progress bars, logs, trackers and checkpoints read events; the loop knows none of them.
"""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hypermnesia.core.files import sync_directory
from hypermnesia.evaluation.event_lines import read_lines
from hypermnesia.evaluation.records import Row
from hypermnesia.training.options import TrainOptions


@dataclass(frozen=True)
class RunBegun:
    """Before the first step, or the first one after an interruption. Listeners are told; the log does not hold it."""

    parameters: int
    """That are trained."""
    tasks: int
    """That are trained one after the other."""
    train: TrainOptions


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


Event = RunBegun | TaskStarted | StepDone | Evaluated | TaskEnded | RunEnded

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
    """Whether the log holds `event`: of steps, one in `LOGGED_EVERY` and a phase's first and last; all others but
    `RunBegun`."""
    if isinstance(event, RunBegun):
        return False
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


def mark(path: Path) -> dict[str, Any]:
    """What is saved with a checkpoint of the log as it stands: its length in bytes and its SHA-256."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"events": file.tell(), "events_sha256": digest.hexdigest()}


def fault(path: Path, marked: Mapping[str, Any]) -> str | None:
    """What is wrong with the part of the log that `marked` tells of; None if it is what was written.

    Version 0.1 marked the length alone.
    """
    length = int(marked["events"])
    if not path.exists():
        return "is not there" if length else None
    with open(path, "rb") as file:
        content = file.read(length)
    if len(content) < length:
        return f"has {len(content)} bytes of {length}"
    digest = marked.get("events_sha256")
    if digest is None:
        whole = not content or content.endswith(b"\n")
    else:
        whole = hashlib.sha256(content).hexdigest() == digest
    return None if whole else "is not what was written"


def ends_whole(path: Path) -> bool:
    """Whether the last line of the log has its end."""
    with open(path, "rb") as file:
        return file.seek(0, os.SEEK_END) == 0 or (file.seek(-1, os.SEEK_END), file.read(1))[1] == b"\n"


def sound_length(path: Path, most: int) -> int:
    """Bytes of the lines at the log's beginning that are events, `most` at most."""
    if not path.exists():
        return 0
    ends = (end for line, end in read_lines(path) if line is not None)
    return max((end for end in ends if end <= most), default=0)


class EventLog:
    """The log of a run, cut back to its first `length` bytes when the run resumes."""

    def __init__(self, path: Path, length: int) -> None:
        fresh = not path.exists()
        with contextlib.ExitStack() as kept:  # what fails here leaves nothing open
            self._file = kept.enter_context(open(path, "ab"))
            self._file.truncate(min(length, self._file.tell()))
            self._file.seek(0, os.SEEK_END)
            if fresh:
                sync_directory(path.parent)
            with open(path, "rb") as written:
                self._hash = hashlib.file_digest(written, "sha256")
            kept.pop_all()

    def write(self, event: Event) -> None:
        """Append the event, if the log is to hold it."""
        if logged(event):
            record = {"time": round(time.time(), 3)} | event_json(event)
            line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
            self._hash.update(line)
            self._file.write(line)

    def flush(self) -> dict[str, Any]:
        """Bring everything to disk; returns what `mark` does."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"events": self._file.tell(), "events_sha256": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()
