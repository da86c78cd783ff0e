"""A run that is asked to stop does so within two seconds, wherever it is, and goes on to the same bits."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract import BY_NAME, words_of
from faults.comparing import differences

from hypermnesia.evaluation import schedule
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.er import ER
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute, execute_seeds, resume
from hypermnesia.runs.recorder import Interrupted

SOON = 2.0
LONG = 30.0
WORDS = words_of(BY_NAME["er"], "checkpoint.every=1000", "evaluate.steps=2", "stream.validation=0.2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "o"
    execute_seeds(resolve("split-digits", "er", WORDS), [0], out)
    return out


def slow(call: Callable[..., Any], at: int, begun: threading.Event) -> Callable[..., Any]:
    """The function, whose `at`th call takes half a minute, in pieces as batches are."""
    calls = [0]

    def longer(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            begun.set()
            ends = time.monotonic() + LONG
            while time.monotonic() < ends:
                time.sleep(0.05)
        return call(*args, **kwargs)

    return longer


@pytest.mark.parametrize(
    ("at", "kept"),
    [(1, 0), (2, 2), (4, 4), (5, 4), (7, 8)],
    ids=["untrained", "on the way", "validation part", "test part", "second task"],
)
def test_within_an_evaluation(
    at: int, kept: int, tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took, begun = stopped(tmp_path / "o", monkeypatch, schedule, "evaluate", at), tmp_path / "o" / "seed-0"
    assert took < SOON
    [newest] = sorted((begun / "checkpoint").glob("*.json"))[-1:]
    assert int(newest.name[:10]) == kept
    resume(begun)
    execute_seeds(resolve("split-digits", "er", WORDS), [0], tmp_path / "o")
    assert differences(plain, tmp_path / "o") == []


def test_at_the_end_of_a_task(tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a method does there cannot be saved half-done: the run goes back to its last checkpoint."""
    assert stopped(tmp_path / "o", monkeypatch, ER, "end_task", 2) < SOON
    execute_seeds(resolve("split-digits", "er", WORDS), [0], tmp_path / "o")
    assert differences(plain, tmp_path / "o") == []


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, at: int) -> float:
    """Seconds that a run took to stop, asked in the midst of the `at`th call of a function."""
    begun, asked = threading.Event(), []

    def ask() -> None:
        begun.wait(60)
        time.sleep(0.1)
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, slow(getattr(owner, name), at, begun))
        thread.start()
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            execute(resolve("split-digits", "er", WORDS), 0, Place(out / "seed-0"))
    thread.join()
    return time.monotonic() - asked[0]
