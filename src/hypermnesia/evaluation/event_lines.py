"""events.jsonl: what its lines hold, for those who write them and those who read them.

One JSON object a line, told apart by `event`. Losses are null where they are not finite, accuracies
fractions in 0..1, R² at most 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from hypermnesia.evaluation.schema import Cost, Record, Share

LONGEST = 16 * 2**20
"""Bytes of a line; a longer one is damage."""
_Count = Annotated[int, Field(ge=0, le=10**15)]
_Rows = dict[str, list[Share | None]]


class _Line(Record):
    time: Cost
    """Seconds since 1970."""


class TaskStartedLine(_Line):
    event: Literal["task_started"]
    task: _Count
    name: str
    tasks: _Count


class StepLine(_Line):
    event: Literal["step"]
    task: _Count
    phase: str
    step: _Count
    steps: _Count
    total_steps: _Count
    loss: float | None
    terms: dict[str, float | None]


class EvaluatedLine(_Line):
    event: Literal["evaluated"]
    task: Annotated[int, Field(ge=-1, le=10**15)]
    step: _Count | None
    scenarios: _Rows
    validation: _Rows | None


class TaskEndedLine(_Line):
    event: Literal["task_ended"]
    task: _Count
    seconds: Cost


class RunEndedLine(_Line):
    event: Literal["run_ended"]
    steps: _Count
    seconds: Cost


EventLine = TaskStartedLine | StepLine | EvaluatedLine | TaskEndedLine | RunEndedLine
_ANY = TypeAdapter(Annotated[EventLine, Field(discriminator="event")])


def read_line(line: bytes) -> EventLine | None:
    """What one line says; None if it is no event, or not whole."""
    if not line.endswith(b"\n"):
        return None
    try:
        return _ANY.validate_json(line)
    except ValidationError:
        return None


def read_lines(path: Path) -> Iterator[tuple[EventLine | None, int]]:
    """Each event of a log with the number of bytes up to its end; at the first line that is none, None once and an end."""
    end = 0
    with open(path, "rb") as lines:
        for line in iter(lambda: lines.readline(LONGEST), b""):
            found = read_line(line)
            end += len(line)
            yield found, end
            if found is None:
                return


def sound_lines(path: Path) -> list[dict[str, Any]]:
    """The events of a log up to the first line that is none, as plain values; none where there is no log."""
    if not path.exists():
        return []
    return [line.model_dump() for line, _ in read_lines(path) if line is not None]
