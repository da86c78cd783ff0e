"""What a run has measured so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Row = list[float | None]


@dataclass
class Records:
    """Accuracies in 0..1 (of numbers R², at most 1), None where absent, and what the training took."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    """scenario → one row per task learned, one column per test part."""
    validation: dict[str, list[Row]] = field(default_factory=dict)
    """The same on the tasks' validation parts."""
    baseline: dict[str, Row] = field(default_factory=dict)
    """scenario → accuracies of the untrained network."""
    anytime: dict[str, list[list]] = field(default_factory=dict)
    """scenario → [task, step, row] of evaluations on the way."""
    confusion: list[Row] | None = None
    """(tests, tasks) share of each test part's samples that were last taken for each task, where it was inferred."""
    errors: list[Row] = field(default_factory=list)
    """Of numbers: the mean absolute error on every test part after each task learned, in the target's own units."""
    seconds: float = 0.0
    """Training time, evaluation excluded."""
    steps: int = 0
    """Steps done, over all tasks and phases."""

    def add(self, task: int, found: Mapping[str, Row], validation: bool = False) -> None:
        """Put the rows of `task` behind those of the tasks before; tasks that were not evaluated get empty ones."""
        matrices = self.validation if validation else self.rows
        for scenario, row in found.items():
            rows = matrices.setdefault(scenario, [])
            rows.extend([None] * len(row) for _ in range(task - len(rows)))
            rows.append(row)

    def add_errors(self, task: int, row: Row | None) -> None:
        """Put the errors after `task` behind those after the tasks before, as `add` does."""
        if row is not None:
            self.errors.extend([None] * len(row) for _ in range(task - len(self.errors)))
            self.errors.append(row)

    def add_on_the_way(self, task: int, step: int, found: Mapping[str, Row]) -> None:
        """Note an evaluation at `step` of `task`."""
        for scenario, row in found.items():
            self.anytime.setdefault(scenario, []).append([task, step, row])
