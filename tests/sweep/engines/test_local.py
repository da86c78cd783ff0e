"""Worker processes: they answer, they crash alone, they leave with their driver."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep.sweep_helpers import job

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.base import WorkerLost
from hypermnesia.sweep.engines.local import Local
from hypermnesia.sweep.jobs import Outcome


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_workers_share_the_machine():
    cores = len(os.sched_getaffinity(0))
    assert (Local().workers, Local().threads) == (cores, 1)
    assert Local(workers=1).threads == cores and Local(workers=2 * cores).threads == 1
    assert Local(gpus=3).workers == 3
    with pytest.raises(HypermnesiaError, match="workers=0 must be at least 1"):
        Local(workers=0)
    with pytest.raises(HypermnesiaError, match="threads=0 must be at least 1"):
        Local(threads=0)


def test_a_crash_costs_one_job_and_a_stop_saves_the_run(tmp_path, monkeypatch):
    (tmp_path / "mean.py").write_text("import os\n\n\ndef crash(shape, outputs):\n    os._exit(5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    engine = Local(workers=1, threads=1)
    engine.open(tmp_path)
    try:
        bad = job(tmp_path, "bad", "net=python:mean:crash")
        crashed, long = engine.submit([bad, job(tmp_path, "long", "train.iterations=100000")])
        with pytest.raises(
            WorkerLost, match="the worker process exited with code 5; its output is in .*worker-0"
        ):
            crashed.result(60)
        wait_for((tmp_path / "long/seed-0/events.jsonl").exists)  # made by a fresh process
    finally:
        engine.close()
    stopped = Outcome.from_json(long.result(0))
    assert stopped.state == "interrupted" and "SIGTERM" in (stopped.reason or "")
    assert list((tmp_path / "long/seed-0/checkpoint").glob("*.json"))


def test_a_killed_worker_is_told_apart():
    from hypermnesia.sweep.engines.local import _Worker

    words = _Worker(Path("w.log"), 1, None)._last_words(-signal.SIGKILL)
    assert words == (
        "the worker process was killed by SIGKILL (the system does that when memory runs out); "
        "its output is in w.log"
    )


def test_a_worker_without_its_driver_saves_the_run_and_leaves(tmp_path):
    long = job(tmp_path, "long", "train.iterations=100000")
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "hypermnesia.sweep.work"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert worker.stdin is not None and worker.stdout is not None
    with worker.stdin, worker.stdout:
        worker.stdin.write(long.encode() + b"\n")
        worker.stdin.flush()
        wait_for((tmp_path / "long/seed-0/events.jsonl").exists)
        worker.stdin.close()
        answer = worker.stdout.read()
        assert worker.wait(60) in (0, -signal.SIGTERM)
    assert Outcome.from_json(answer).state == "interrupted"
    assert list((tmp_path / "long/seed-0/checkpoint").glob("*.json"))


def test_gpus_are_dealt_to_the_workers(monkeypatch):
    from hypermnesia.sweep.engines.local import _visible

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _visible(1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert _visible(1) == "7"
