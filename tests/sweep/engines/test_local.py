"""Worker processes: they answer, they crash alone, they leave with their driver."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sweep.sweep_helpers import TINY, Inline, job, values

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.schema import Outcome, read_record
from hypermnesia.sweep import SweepOptions, sweep
from hypermnesia.sweep.engines.base import WorkerLost
from hypermnesia.sweep.engines.local import Local
from hypermnesia.sweep.work import work


def wait_for(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_workers_share_the_machine():
    cores = len(os.sched_getaffinity(0))
    assert (Local().workers, Local().threads) == (cores, 1)
    assert Local(workers=1).threads == cores and Local(workers=2 * cores).threads == 1
    assert Local(gpus=3).workers == 3
    with pytest.raises(HypermnesiaError, match="workers=0: expected a whole number, at least 1"):
        Local(workers=0)
    with pytest.raises(HypermnesiaError, match="threads=0: expected a whole number, at least 1"):
        Local(threads=0)


def test_a_crash_costs_one_job_and_a_stop_saves_the_run(tmp_path, monkeypatch):
    (tmp_path / "mean.py").write_text("import os\n\n\ndef crash(shape, outputs):\n    os._exit(5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Local(workers=1, threads=1) as engine:
        engine.open(tmp_path)
        bad = job(tmp_path, "bad", "net=python:mean:crash")
        long = job(tmp_path, "long", "train.iterations=100000")
        with pytest.raises(
            WorkerLost, match="the worker process exited with code 5; its output is in .*worker-0"
        ):
            engine.submit(work, [bad]).result(120)
        stopped = engine.submit(work, [long])
        wait_for((tmp_path / "long/seed-0/events.jsonl").exists)  # made by a fresh process
    [outcome] = stopped.result(0)
    assert outcome.state == "interrupted" and "SIGTERM" in (outcome.reason or "")
    assert list((tmp_path / "long/seed-0/checkpoint").glob("*.json"))


def noted(directory: Path) -> str:
    """Note the process, wait for ever the first time, and say what a worker sees."""
    print("a line of the worker's")
    first = not list(directory.glob("pid-*"))
    (directory / f"pid-{os.getpid()}").touch()
    if first:
        time.sleep(600)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_killed_worker_is_told_apart_and_another_takes_its_place(tmp_path, capfd):
    with Local(workers=1, threads=1, gpus=1) as engine:
        engine.open(tmp_path)
        lost = engine.submit(noted, tmp_path)
        wait_for(lambda: list(tmp_path.glob("pid-*")))
        [pid] = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
        os.kill(pid, signal.SIGKILL)
        said = (
            "the worker process was killed by SIGKILL .the system does that when memory runs out.; its output"
        )
        with pytest.raises(WorkerLost, match=said):
            lost.result(60)
        assert engine.submit(noted, tmp_path).result(120) == "0"
        os.kill(
            max(int(path.name[4:]) for path in tmp_path.glob("pid-*") if path.name != f"pid-{pid}"),
            signal.SIGKILL,
        )
        wait_for(lambda: not any(thread.name == "ExecutorManagerThread" for thread in threading.enumerate()))
        assert engine.submit(noted, tmp_path).result(120) == "0", "one that died idle has lost nothing"
    assert "a line of the worker's" in (tmp_path / "logs/worker-0.log").read_text()
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_a_search_whose_workers_are_killed_ends_like_the_undisturbed_one(tmp_path):
    words = ["train.iterations=60", *TINY[1:], "lr=0.001,0.003,0.01,0.03"]
    options = SweepOptions(final_seeds=1)
    kills, saves = [], set()

    def kill(result):
        """Kill the worker whenever it has saved something more."""
        known = set((tmp_path / "disturbed").rglob("checkpoint/*.json"))
        if known - saves and len(kills) < 4 and (workers := multiprocessing.active_children()):
            saves.update(known)
            kills.append(workers[0].pid)
            os.kill(kills[-1], signal.SIGKILL)

    def searched(name, engine, listener=lambda result: None):
        out = tmp_path / name
        return sweep("split-digits", "er", words, out, options=options, engine=engine, listener=listener)

    disturbed = searched("disturbed", Local(workers=1, threads=1), kill)
    plain = searched("plain", Inline())
    assert len(set(kills)) == 4 and values(disturbed) == values(plain)
    assert disturbed.final["scenarios"] == plain.final["scenarios"]


DRIVER = """
import pickle, sys
from pathlib import Path
from hypermnesia.sweep.engines.local import Local
from hypermnesia.sweep.work import work
engine = Local(workers=2, threads=1)
engine.open(Path(sys.argv[1]))
job = pickle.loads(bytes.fromhex(sys.argv[2]))
engine.submit(int).result()
engine.submit(work, (job,)).result()
"""


def test_workers_without_their_driver_save_the_run_and_leave(tmp_path):
    long = job(tmp_path, "long", "train.iterations=100000")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), pickle.dumps(long).hex()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    wait_for((tmp_path / "long/seed-0/events.jsonl").exists)
    driver.kill()
    driver.wait()
    wait_for(lambda: list((tmp_path / "long/seed-0/checkpoint").glob("*.json")))
    wait_for((tmp_path / "long/trial.json").exists)
    outcome = read_record(tmp_path / "long/trial.json", Outcome)
    assert outcome.state == "interrupted" and "SIGTERM" in (outcome.reason or "")


def test_gpus_are_dealt_to_the_workers(monkeypatch):
    from hypermnesia.sweep.engines.local import _visible

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _visible(1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert _visible(1) == "7"
    with pytest.raises(HypermnesiaError, match="CUDA_VISIBLE_DEVICES=4,7 leaves 2: ask for fewer"):
        _visible(2)


def test_processors_are_counted_where_the_system_does_not_say_which_are_ours(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert Local().workers == os.cpu_count()
