"""Job arrays, run as plain processes by submitit's own local executor."""

import os
import sys

import pytest
from sweep.sweep_helpers import TINY, Inline, alone, job

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep import Slurm, WorkerLost, sweep
from hypermnesia.sweep.engines import slurm
from hypermnesia.sweep.work import work


def test_an_array_does_its_jobs_and_loses_the_bad_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # jobs find what the tests find
    with Slurm(workers=2, cluster="local", parameters={"timeout_min": 5}) as engine:
        engine.check()
        engine.open(tmp_path)
        good, bad = engine.submit_all(work, [(job(tmp_path, "good"),), ()])
        with pytest.raises(WorkerLost, match="slurm job [0-9]+: "):
            bad.result(120)
        [outcome] = good.result(120)
    assert outcome.state == "complete" and outcome.value == alone(job(tmp_path, "here")).value
    assert list((tmp_path / "logs").rglob("*_log.out"))


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A machine whose SLURM consists of these commands, given as scripts by name."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    def install(**scripts: str) -> None:
        for name, script in scripts.items():
            (directory / name).write_text(f"#!/bin/sh\n{script}\n")
            (directory / name).chmod(0o755)

    return install


def test_where_there_is_no_slurm_or_half_of_one_it_is_told(commands):
    def refused(said: str) -> None:
        with pytest.raises(HypermnesiaError, match=said):
            Slurm().check()

    refused(r"--engine slurm: there is no SLURM here \(no sbatch on the PATH\)")
    commands(sbatch="exit 1")
    refused(
        "the SLURM here lacks srun, which starts them and sacct, which tells how they ended .not on the PATH"
    )
    commands(srun="exit 1", sacct="echo Slurm accounting storage is disabled >&2; exit 1")
    refused("sacct fails, so nobody would learn how jobs ended: Slurm accounting storage is disabled$")
    commands(sacct="exit 0")
    Slurm().check()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            {"slurm_partitoin": "gpu"},
            "unknown slurm option 'slurm_partitoin'; did you mean 'slurm_partition'",
        ),
        ({"partition": "gpu"}, "unknown slurm option 'partition'; did you mean 'slurm_partition'"),
        ({"timeout_min": "long"}, 'slurm: Parameter "timeout_min" expected type .*int.* "long"'),
        ({"mem_gb": "much"}, 'slurm: Parameter "mem_gb" expected type .*float.* "much"'),
        ({"cpus_per_task": 3}, "slurm: cpus_per_task follows from --workers, --threads and --gpus"),
    ],
)
def test_options_that_sbatch_does_not_have_are_told(commands, parameters, said):
    commands(sbatch="exit 1", srun="exit 1", sacct="exit 0")
    with pytest.raises(HypermnesiaError, match=said) as error:
        Slurm(parameters=parameters).check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo error: invalid partition specified: gpu >&2; exit 1",
            "error: invalid partition specified: gpu",
        ),
        ("exit 1", "sbatch failed"),
        ("echo 5cheduled", 'Could not make sense of sbatch output "5cheduled"'),
        ("printf '\\377\\376'", "slurm: a job could not be submitted: "),
    ],
)
def test_a_submission_that_fails_ends_the_search_with_one_message(tmp_path, commands, capfd, script, said):
    commands(sbatch=script, srun="exit 1", sacct="exit 0")
    words = [*TINY, "optimizer.lr=0.01,0.1"]
    with pytest.raises(HypermnesiaError, match=said) as error:
        sweep("split-digits", "finetune", words, tmp_path / "out", engine=Slurm())
    assert "\n" not in str(error.value) and str(error.value).startswith(
        "slurm: a job could not be submitted: "
    )
    assert capfd.readouterr().err == ""
    found = sweep("split-digits", "finetune", words, tmp_path / "out", engine=Inline())
    assert [trial.state for trial in found.trials] == ["complete"] * 2, "the same command goes on"


def test_bad_numbers_are_told():
    for name in ("workers", "threads"):
        with pytest.raises(HypermnesiaError, match=f"slurm: {name}=0: expected a whole number, at least 1"):
            Slurm(**{name: 0})
    with pytest.raises(HypermnesiaError, match="slurm: gpus=-1: expected a whole number, at least 0"):
        Slurm(gpus=-1)


def test_a_job_that_slurm_puts_back_is_the_same_job(tmp_path):
    jobs = (job(tmp_path, "again"),)
    again = slurm._Again(work).checkpoint(jobs)
    assert again.args == (jobs,) and isinstance(again.function, slurm._Again)
