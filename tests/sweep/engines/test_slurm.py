"""Job arrays, run as plain processes by submitit's own local executor."""

import os
import sys

import pytest
from sweep.sweep_helpers import job

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep import Slurm, WorkerLost
from hypermnesia.sweep.engines import slurm
from hypermnesia.sweep.jobs import Outcome
from hypermnesia.sweep.work import work


def test_an_array_does_its_jobs_and_loses_the_bad_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # jobs find what the tests find
    engine = Slurm(workers=2, cluster="local", parameters={"timeout_min": 5})
    engine.check()
    engine.open(tmp_path)
    try:
        good, bad = engine.submit([job(tmp_path, "good"), '{"this": "is no job"}'])
        with pytest.raises(WorkerLost, match="slurm job [0-9]+: "):
            bad.result(120)
        outcome = Outcome.from_json(good.result(120))
    finally:
        engine.close()
    assert (
        outcome.state == "complete" and outcome.value == Outcome.from_json(work(job(tmp_path, "here"))).value
    )
    assert list((tmp_path / "logs").rglob("*_log.out"))


def test_where_there_is_no_slurm_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        HypermnesiaError, match=r"--engine slurm: there is no SLURM here \(no sbatch on the PATH\)"
    ):
        Slurm().check()


def test_bad_numbers_are_told():
    for name in ("workers", "threads"):
        with pytest.raises(HypermnesiaError, match=f"slurm: {name}=0 must be at least 1"):
            Slurm(**{name: 0})
    with pytest.raises(HypermnesiaError, match="slurm: gpus=-1 must be at least 0"):
        Slurm(gpus=-1)


def test_a_job_that_slurm_puts_back_is_the_same_job():
    again = slurm._Work().checkpoint('{"job": 1}')
    assert again.args == ('{"job": 1}',) and isinstance(again.function, slurm._Work)
