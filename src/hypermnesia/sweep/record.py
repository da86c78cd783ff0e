"""What a search leaves behind: sweep.json, which reports read, and the same as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypermnesia.evaluation.schema import FORMAT, Sweep, Trial, write_record
from hypermnesia.sweep.space import Choice, Space

SWEEP_FILE = "sweep.json"


@dataclass(frozen=True)
class SweepResult:
    """A search as it stands."""

    directory: Path
    benchmark: str
    approach: str
    objective: str
    maximise: bool
    space: Space
    protocol: str
    algorithm: str
    asked: int
    """Trials that were asked for."""
    trials: tuple[Trial, ...]
    final: Mapping[str, Any] | None = None
    """The winner on test: its settings, the seeds, their summary, and what the search cost."""

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value, the first of equals."""
        complete = [t for t in self.trials if t.state == "complete" and t.value is not None]
        sign = -1 if self.maximise else 1
        return min(complete, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)

    @property
    def seconds(self) -> float:
        """What all trials took together."""
        return sum(trial.seconds or 0.0 for trial in self.trials)

    def cost(self) -> dict[str, Any]:
        """The search in numbers, for the winner's record: its space, its trials, its time."""
        states = [trial.state for trial in self.trials]
        return {
            "objective": self.objective,
            "protocol": self.protocol,
            "algorithm": self.algorithm,
            "space": space_json(self.space),
            "trials": len(self.trials),
            **{state: states.count(state) for state in ("complete", "pruned", "failed")},
            "seconds": self.seconds,
        }

    def to_json(self) -> dict[str, Any]:
        """What sweep.json holds."""
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "approach": self.approach,
            "space": space_json(self.space),
            "objective": self.objective,
            "maximise": self.maximise,
            "protocol": self.protocol,
            "algorithm": self.algorithm,
            "trials": [trial.model_dump() for trial in self.trials],
            "best": None if self.best is None else self.best.number,
            "final": self.final,
        }

    def write(self) -> None:
        """Write sweep.json."""
        write_record(self.directory / SWEEP_FILE, Sweep, self.to_json())


def space_json(space: Space) -> dict[str, Any]:
    """A space as values to choose from, and ranges as their words."""
    return {key: list(d.values) if isinstance(d, Choice) else str(d) for key, d in space.items()}
