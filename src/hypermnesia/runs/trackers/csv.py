"""events.csv beside events.jsonl: a number a line, for spreadsheets and data frames."""

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hypermnesia.runs.trackers.base import Reader, Record, Run, Tracker

COLUMNS = ("time", "event", "task", "step", "total_steps", "name", "value")


@contextmanager
def track(run: Run, past: Sequence[dict[str, Any]]) -> Iterator[Tracker]:
    """Write `run.directory`/events.csv anew from the log's past, then line by line as events come in.

    `time`: seconds since 1970. `task` counts from 0, −1 for the untrained network. `step`: within the task's phase.
    """
    reader = Reader(by_task=run.by_task)
    with open(run.directory / "events.csv", "w", newline="", encoding="utf-8", buffering=1) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)

        def write(record: Record) -> None:
            found, when = reader.numbers(record), record.get("time", round(time.time(), 3))
            fixed = (when, record["event"], record.get("task"), record.get("step"), reader.total)
            writer.writerows((*fixed, name, value) for name, value in found.items())

        for record in past:
            write(record)
        yield write
