"""One run to track, and what events.jsonl says of it."""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.execute import execute_seeds
from hypermnesia.runs.recorder import Interrupted
from hypermnesia.runs.trackers import tracking
from hypermnesia.runs.trackers.base import Reader
from hypermnesia.training.events import StepDone

CONFIG = resolve("split-digits", "er", ["train.iterations=30", "train.threads=1"])


def run(directory: Path, *trackers: str) -> Path:
    """A finished run, tracked; returns DIR/seed-0."""
    execute_seeds(CONFIG, [0], directory, listen=tracking(trackers))
    return directory / "seed-0"


def interrupted(directory: Path, *trackers: str) -> None:
    """The same run, stopped in the middle of its second task."""
    track = tracking(trackers)

    @contextmanager
    def listen(cfg, seed, where):
        with track(cfg, seed, where) as hear:

            def both(event):
                hear(event)
                if isinstance(event, StepDone) and (event.task, event.step) == (1, 25):
                    os.kill(os.getpid(), signal.SIGINT)

            yield both

    with pytest.raises(Interrupted):
        execute_seeds(CONFIG, [0], directory, listen=listen)


def expected(seed: Path) -> list[tuple[str, int, float]]:
    """(name, steps done, value) of every number in events.jsonl, in its order."""
    reader, found = Reader(), []
    for line in (seed / "events.jsonl").read_text().splitlines():
        numbers = reader.numbers(json.loads(line))
        found += [(name, reader.total, value) for name, value in numbers.items()]
    return found


def timeless(found: list[tuple[str, int, float]]) -> list[tuple[str, int, float]]:
    """Without what differs from run to run."""
    return [entry for entry in found if entry[0] != "train_seconds"]
