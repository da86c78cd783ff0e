"""Loggers: what happens in a run, also as CSV, to TensorBoard, Weights & Biases or MLflow.

A tracker hears what events.jsonl holds, as often as events.jsonl does; when a run resumes it takes up where the log
was cut back to. Tracking is no part of a configuration: it changes no result. The packages behind the trackers are
imported when one is asked for.
"""

import contextlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs.execute import Listen
from hypermnesia.runs.recorder import Listener
from hypermnesia.runs.trackers.base import Open, Run, Tracker, history
from hypermnesia.training.events import Event, event_json, logged

TRACKERS = {
    "csv": "",
    "tensorboard": "pip install 'hypermnesia[track]'",
    "wandb": "pip install 'hypermnesia[wandb]'",
    "mlflow": "pip install 'hypermnesia[mlflow]'",
}
"""Name of a tracker, and of the module here that holds it → how to get the package behind it."""

__all__ = ["TRACKERS", "Run", "Tracker", "tracking"]


def tracking(names: Sequence[str]) -> Listen:
    """What `runs.execute_seeds` takes to have every run tracked by all of `names`.

    Raises `HypermnesiaError` at once for an unknown tracker and for one whose package is not installed.
    """
    openers = [_opener(name) for name in dict.fromkeys(names)]

    @contextlib.contextmanager
    def listen(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
        run = Run(directory, seed, cfg.benchmark, cfg.approach.name, cfg.sha256, cfg.tree())
        with contextlib.ExitStack() as stack:
            open_trackers: list[Tracker] = []

            def hear(event: Event) -> None:
                if not openers or not logged(event):
                    return
                if not open_trackers:  # not before the run's directory is there
                    past = history(directory / "events.jsonl", event)
                    open_trackers.extend(stack.enter_context(opener(run, past)) for opener in openers)
                record = event_json(event)
                for tracker in open_trackers:
                    tracker(record)

            yield hear

    return listen


def _opener(name: str) -> Open:
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    try:
        return import_module(f"hypermnesia.runs.trackers.{name}").track
    except ImportError as error:
        raise HypermnesiaError(f"--track {name}: {error}; get it with: {TRACKERS[name]}") from error
