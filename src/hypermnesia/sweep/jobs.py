"""What goes to a worker and what comes back: plain values."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

State = Literal["complete", "pruned", "failed", "interrupted"]
"""interrupted: it could not go on for no reason of its own (a signal, a full disk), and is to run again."""
TRIAL_FILE = "trial.json"
"""Where the worker leaves the outcome of a trial, in the trial's directory."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial with its seeds, or the winner with one seed."""

    root: str
    """The sweep's directory."""
    sweep_id: str
    """What search.json there holds, so that a worker knows whether it sees the same disk."""
    directory: str
    """Of the trial, relative to the root; its runs are in seed-K below it."""
    config: str
    """TOML, as `Config.to_toml` writes it."""
    seeds: tuple[int, ...]
    objective: str | None = None
    """Path into result.json. With one, the job is a trial: sealed, and worth a value."""
    scenario: str = "task"
    """Whose accuracy after each task is kept and compared with `bars`."""
    tasks: int = 1
    """Tasks that each seed trains."""
    bars: tuple[float | None, ...] = ()
    """Accuracy after each task (of one seed after the other) below which the trial is given up; None, and none at
    all: never."""
    data_dir: str | None = None
    device: str = "cpu"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job."""

    state: State
    value: float | None = None
    """The objective, mean over the seeds; of complete trials only."""
    reason: str | None = None
    """Why it failed, was given up or interrupted."""
    seconds: float = 0.0
    """Wall-clock time, over all attempts that could tell."""
    scores: tuple[float | None, ...] = ()
    """Validation accuracy after each task, of one seed after the other; None where it was not measured."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the trial's directory → base64: everything to keep, where the worker sees another disk."""

    def to_json(self) -> str:
        """What the trial's record on disk holds."""
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes) -> "Outcome":
        """Raises ValueError or TypeError for anything that `to_json` did not write."""
        values = json.loads(text)
        return Outcome(**{**values, "scores": tuple(values["scores"])})
