"""Runs that are killed, stopped and resumed end like runs that nobody touched, to the last bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract import BY_NAME, ROWS, words_of
from faults.comparing import differences

KILLING = Path(__file__).with_name("killing.py")
ROOT = KILLING.parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ENVIRONMENT = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT / "src")}


def killing(directory: Path, *options: str) -> list[dict[str, Any]]:
    """The scores of one call of killing.py."""
    command = [sys.executable, KILLING, directory, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def counted(scores: list[dict[str, Any]], what: str = "kills") -> str:
    """What happened, in a line."""
    kills, inside, runs = (sum(score[key] for score in scores) for key in ("kills", "inside_writes", "runs"))
    within = f" ({inside} inside writes, {runs} runs)" if runs else ""
    faults = sum(len(score["faults"]) for score in scores)
    over = f"{len(scores)} approaches" if len(scores) > 4 else ", ".join(score["of"] for score in scores)
    return f"{kills} {what}{within} over {over}: {faults} differing results"


Tell = Callable[[str], None]


def test_a_few_kills_of_every_approach(directory: Path, tell: Tell) -> None:
    """The short form of the next test."""
    scores = killing(directory, "--kills", "2")
    tell(counted(scores))
    assert {score["of"]: score["faults"] for score in scores} == {row.approach: [] for row in ROWS}
    assert all(score["kills"] == 2 for score in scores)
    assert sum(score["inside_writes"] for score in scores) >= 10


@pytest.mark.slow
def test_hundreds_of_kills_over_all_approaches(directory: Path, tell: Tell) -> None:
    """Twelve of each approach, half of them in the middle of a write."""
    scores = killing(directory, "--kills", "12", "--seed", "1")
    tell(counted(scores))
    assert {score["of"]: score["faults"] for score in scores} == {row.approach: [] for row in ROWS}
    kills, inside = (sum(score[key] for score in scores) for key in ("kills", "inside_writes"))
    assert kills >= 200 and inside >= 0.45 * kills


def test_a_few_kills_of_commands(directory: Path, tell: Tell) -> None:
    """The short form of the next test."""
    scores = killing(directory, "--kills", "2", "--of", "stack,learn,compare")
    tell(counted(scores))
    assert [(score["faults"], score["kills"]) for score in scores] == [([], 2)] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("of", "kills"), [("stack", 30), ("learn", 30), ("compare", 30), ("sweep", 15)])
def test_many_kills_of_commands(of: str, kills: int, directory: Path, tell: Tell) -> None:
    """They begin again as they were given."""
    scores = killing(directory, "--kills", str(kills), "--of", of, "--seed", "1")
    tell(counted(scores))
    assert [(score["faults"], score["kills"]) for score in scores] == [([], kills)]


def test_runs_that_are_asked_to_stop(directory: Path) -> None:
    """SIGTERM and Ctrl-C finish the step, save, and exit with 143 and 130."""
    scores = killing(directory, "--signals", "--of", "hnet,gdumb")
    assert [(score["faults"], score["kills"]) for score in scores] == [([], 2)] * 2


@pytest.mark.slow
def test_every_approach_can_be_asked_to_stop(directory: Path, tell: Tell) -> None:
    scores = killing(directory, "--signals")
    tell(counted(scores, "signals to stop"))
    assert {score["of"]: score["faults"] for score in scores} == {row.approach: [] for row in ROWS}


def test_separate_processes(directory: Path) -> None:
    """Nothing forked: two commands as a user would start them, killed, resumed, and compared with two others."""
    names = ("hnet", "ewc")
    longer = ("train.iterations=100", "checkpoint.every=0.01")

    def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            command = [sys.executable, "-m", "hypermnesia", *words]
            return subprocess.Popen(command, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT)

    def begin(name: str, where: str) -> subprocess.Popen[bytes]:
        out = ["--device", "cpu", "--out", str(directory / f"{name}-{where}")]
        words = ["run", "split-digits", name, *words_of(BY_NAME[name], *longer), *out]
        return start(words, directory / f"{name}-{where}.log")

    struck = {name: begin(name, "struck") for name in names}
    while struck:  # each dies as soon as it has saved itself for the first time
        for name, process in list(struck.items()):
            seed = directory / f"{name}-struck" / "seed-0"
            assert process.poll() is None, (directory / f"{name}-struck.log").read_text()
            if list(seed.glob("checkpoint/*.json")):
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
                assert not (seed / "result.json").exists()
                del struck[name]
        time.sleep(0.005)
    plain = [begin(name, "plain") for name in names]
    again = [start(["resume", str(directory / f"{n}-struck")], directory / f"{n}-again.log") for n in names]
    assert [process.wait() for process in (*plain, *again)] == [0] * 4
    for name in names:
        assert differences(directory / f"{name}-plain", directory / f"{name}-struck") == []
