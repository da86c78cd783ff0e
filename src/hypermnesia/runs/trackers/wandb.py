"""Weights & Biases: a run in the project `hypermnesia`, or in the one that WANDB_PROJECT names.

Keys, entity and mode (WANDB_MODE=offline) are wandb's own affair: they come from its environment variables and its
login, and nothing here reads them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hypermnesia.runs.trackers.base import Reader, Record, Run, Tracker

wandb: Any = import_module("wandb")  # to a type checker without the package, `import wandb` is this very file


@contextmanager
def track(run: Run, past: Sequence[dict[str, Any]]) -> Iterator[Tracker]:
    """Log to the run whose id follows from configuration and seed, so that a resumed run goes on in it."""
    reader = Reader(past, run.by_task)
    session = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "hypermnesia"),
        id=f"{run.config_sha256[:16]}-{run.seed}",
        name=run.name,
        group=f"{run.benchmark} {run.approach}",
        config=run.settings,
        dir=str(run.directory),
        resume="allow",
    )
    ended = False

    def write(record: Record) -> None:
        nonlocal ended
        ended = record["event"] == "run_ended"
        found = reader.numbers(record)
        if found:
            session.log(found, step=reader.total)

    try:
        yield write
    finally:
        session.finish(exit_code=0 if ended else 1)
