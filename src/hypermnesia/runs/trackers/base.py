"""What a tracker is, and the numbers that every tracker shows of an event."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypermnesia.core.secrets import flatten
from hypermnesia.evaluation.evaluate import tests_are_tasks
from hypermnesia.evaluation.event_lines import sound_lines
from hypermnesia.evaluation.metrics import accuracy_so_far
from hypermnesia.runs.directory import saved_stream
from hypermnesia.training.events import Event, event_json

Record = Mapping[str, Any]
"""An event as events.jsonl holds it."""
Tracker = Callable[[Record], None]


@dataclass(frozen=True)
class Run:
    """What is tracked."""

    directory: Path
    """DIR/seed-K."""
    seed: int
    benchmark: str
    approach: str
    config_sha256: str
    config: Mapping[str, Any]
    """The configuration tree."""

    @property
    def name(self) -> str:
        return f"{self.benchmark} {self.approach}-{self.config_sha256[:8]} seed {self.seed}"

    @property
    def by_task(self) -> bool:
        """Whether test i belongs to task i, as its stream.json tells."""
        return tests_are_tasks(saved_stream(self.directory))

    @property
    def settings(self) -> dict[str, str]:
        """The configuration by dotted keys, without what looks like a secret, and the seed."""
        return flatten(self.config) | {"seed": str(self.seed), "config_sha256": self.config_sha256}


Open = Callable[[Run, Sequence[dict[str, Any]]], AbstractContextManager[Tracker]]
"""(what is tracked, the records of before the run was interrupted) → a tracker, open within a `with` block."""


def history(log: Path, first: Event) -> list[dict[str, Any]]:
    """The records in a run's log from before `first`, the first event that is heard; none for a fresh run."""
    records = sound_lines(log)
    if records and {k: v for k, v in records[-1].items() if k != "time"} == event_json(first):
        records.pop()  # a long record does not wait in the log's buffer
    return records


class Reader:
    """Takes the numbers out of a run's records, and keeps what most records do not say."""

    def __init__(self, past: Sequence[Record] = (), by_task: bool = True) -> None:
        self._by_task = by_task
        self.total = 0
        """Steps done in the whole run."""
        self.tasks: int | None = None
        """Tasks that are trained, once that is known."""
        for record in past:
            self.numbers(record)

    def numbers(self, record: Record) -> dict[str, float]:
        """The numbers that the next record brings, by names such as `loss`, `loss/drift`, `accuracy/task/3`.

        Accuracies are fractions in 0..1; tests count from 1, as everywhere where people read.
        """
        self.total, self.tasks = record.get("total_steps", self.total), record.get("tasks", self.tasks)
        found: dict[str, float | None] = {}
        if record["event"] == "step":
            found = {"loss": record["loss"]} | {
                f"loss/{name}": value for name, value in record["terms"].items()
            }
        elif record["event"] == "evaluated":
            rows = dict(record["scenarios"])
            validation = {f"validation/{name}": row for name, row in (record["validation"] or {}).items()}
            for scenario, row in (rows | validation).items():
                tasks = self.tasks if self._by_task or scenario in validation else 0
                found |= {f"accuracy/{scenario}/{i}": value for i, value in enumerate(row, 1)}
                found[f"accuracy/{scenario}"] = accuracy_so_far(row, record["task"], tasks)
        elif record["event"] in ("task_ended", "run_ended"):
            found = {"train_seconds": record["seconds"]}
        return {name: value for name, value in found.items() if value is not None}
