"""Loggers: what happens in a run, also as CSV, to TensorBoard, Weights & Biases or MLflow.

A tracker hears what events.jsonl holds, as often as events.jsonl does; when a run resumes it takes up where the log
was cut back to. Tracking is no part of a configuration: it changes no result. The packages behind the trackers are
imported when one is asked for. One that fails is told of once and ends no run.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.printable import printable
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs.execute import Listen
from hypermnesia.runs.recorder import Listener
from hypermnesia.runs.trackers.base import Open, Record, Run, Tracker, history
from hypermnesia.training.events import Event, event_json, logged

T = TypeVar("T")
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
    openers = {name: _opener(name) for name in names}

    @contextlib.contextmanager
    def listen(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
        run = Run(directory, seed, cfg.benchmark, cfg.approach.name, cfg.sha256, cfg.tree())
        with contextlib.ExitStack() as stack:
            kept: list[_Kept] = []

            def hear(event: Event) -> None:
                if not openers or not logged(event):
                    return
                if not kept:  # not before the run's directory is there
                    past = history(directory / "events.jsonl", event)
                    kept.extend(_Kept(name, opener, run, past) for name, opener in openers.items())
                    for tracker in kept:
                        stack.callback(tracker.close)
                record = event_json(event)
                for tracker in kept:
                    tracker.hear(record)

            yield hear

    return listen


class _Kept:
    """A tracker whose failures end no run: the first one is told, and the tracker is off from then on."""

    def __init__(self, name: str, opener: Open, run: Run, past: Sequence[dict[str, Any]]) -> None:
        self._name, self._run = name, run
        self._stack = contextlib.ExitStack()
        self._tracker: Tracker | None = self._kept(lambda: self._stack.enter_context(opener(run, past)))

    def hear(self, record: Record) -> None:
        """Tell the tracker, if it is on."""
        if (tracker := self._tracker) is not None:
            self._kept(lambda: tracker(record))

    def close(self) -> None:
        """Let the tracker finish, if it is on."""
        if self._tracker is not None:
            self._kept(self._stack.close)

    def _kept(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Exception as error:
            self._tracker = None
            said = printable(f"{self._run.directory}: --track {self._name}: {type(error).__name__}: {error}")
            print(f"hypermnesia: {said}; it is off now, and the run goes on", file=sys.stderr)
            return None


def _opener(name: str) -> Open:
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    try:
        return import_module(f"hypermnesia.runs.trackers.{name}").track
    except ImportError as error:
        raise HypermnesiaError(f"--track {name}: {error}; get it with: {TRACKERS[name]}") from error
