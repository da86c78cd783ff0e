"""What goes to a worker: plain values. What comes back is an `evaluation.schema.Outcome`."""

from dataclasses import dataclass

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
