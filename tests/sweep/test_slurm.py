"""Job arrays, run as plain processes by submitit's own local executor."""

import os
import sys

import pytest
from sweep.sweep_helpers import TINY, Inline, values

from hypermnesia.errors import HypermnesiaError
from hypermnesia.sweep import Slurm, SweepOptions, slurm, sweep

WORDS = [*TINY, "optimizer.lr=0.001,0.1"]


@pytest.fixture
def path(monkeypatch):
    """The jobs find what the tests find."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def test_arrays_find_what_this_process_finds(tmp_path, path):
    options = SweepOptions(final_seeds=0)
    engine = Slurm(workers=2, cluster="local", parameters={"timeout_min": 5})
    found = sweep("split-digits", "finetune", WORDS, tmp_path / "a", engine=engine, options=options)
    here = sweep("split-digits", "finetune", WORDS, tmp_path / "b", engine=Inline(), options=options)
    assert values(found) == values(here) and {t.state for t in found.trials} == {"complete"}
    assert list((tmp_path / "a/logs").rglob("*_log.out"))


def test_a_job_that_ends_without_an_answer_is_lost(tmp_path, path):
    engine = Slurm(workers=1, cluster="local")
    engine.open(tmp_path / "out")
    try:
        [future] = engine.submit(['{"root": 1}'])
        with pytest.raises(slurm.WorkerLost, match="slurm job [0-9]+: "):
            future.result(120)
    finally:
        engine.close()


def test_where_there_is_no_slurm_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        HypermnesiaError, match=r"--engine slurm: there is no SLURM here \(no sbatch on the PATH\)"
    ):
        Slurm().open(tmp_path)


def test_bad_numbers_are_told():
    for name in ("workers", "threads"):
        with pytest.raises(HypermnesiaError, match=f"slurm: {name}=0 must be at least 1"):
            Slurm(**{name: 0})
    with pytest.raises(HypermnesiaError, match="slurm: gpus=-1 must be at least 0"):
        Slurm(gpus=-1)


def test_a_job_that_slurm_puts_back_is_the_same_job():
    again = slurm._Work().checkpoint('{"job": 1}')
    assert again.args == ('{"job": 1}',) and isinstance(again.function, slurm._Work)
