"""MLflow: a run in the experiment of the benchmark's name.

Where it goes is mlflow's own affair (MLFLOW_TRACKING_URI); without that, a database beside the run's other files.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from hypermnesia.runs.trackers.base import Reader, Record, Run, Tracker

# To a type checker without the package, `import mlflow` is this very file.
mlflow: Any = import_module("mlflow")

_LONGEST = 500
"""Characters of a parameter's value that every version of mlflow takes."""


@contextmanager
def track(run: Run, past: Sequence[dict[str, Any]]) -> Iterator[Tracker]:
    """Log to the run that DIR/seed-K/mlflow-run names; a fresh run makes one and writes its id there."""
    reader = Reader(past, run.by_task)
    client = mlflow.MlflowClient(tracking_uri=_where(run.directory))
    session = _run_id(client, run, fresh=not past)
    ended = False

    def write(record: Record) -> None:
        nonlocal ended
        ended = record["event"] == "run_ended"
        now, found = int(1000 * time.time()), reader.numbers(record)
        client.log_batch(
            session, [mlflow.entities.Metric(name, value, now, reader.total) for name, value in found.items()]
        )

    try:
        yield write
    finally:
        client.set_terminated(session, "FINISHED" if ended else "KILLED")


def _where(directory: Path) -> str | None:
    return None if "MLFLOW_TRACKING_URI" in os.environ else f"sqlite:///{directory.resolve() / 'mlflow.db'}"


def _run_id(client: Any, run: Run, fresh: bool) -> str:
    note = run.directory / "mlflow-run"
    if not fresh and note.exists():
        session = note.read_text().strip()
        client.update_run(session, "RUNNING")
        return session
    experiment = client.get_experiment_by_name(run.benchmark)
    place = experiment.experiment_id if experiment else client.create_experiment(run.benchmark)
    session = client.create_run(place, run_name=run.name).info.run_id
    client.log_batch(
        session, params=[mlflow.entities.Param(key, value[:_LONGEST]) for key, value in run.settings.items()]
    )
    note.write_text(session + "\n")
    return session
