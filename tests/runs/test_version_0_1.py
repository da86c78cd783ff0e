"""Run directories that version 0.1 made, before modules moved: v0.1/NAME was interrupted, v0.1/NAME-finished ended."""

import shutil
from pathlib import Path

import pytest
import torch

from hypermnesia.report import load
from hypermnesia.runs.directory import Place, read_result, saved_config
from hypermnesia.runs.execute import execute, restored, resume

OLD = Path(__file__).with_name("v0.1")
INTERRUPTED = sorted(path.name for path in OLD.iterdir() if not path.name.endswith("-finished"))

torch.set_num_threads(1)


@pytest.fixture
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the old run named by the parameter."""
    return Path(shutil.copytree(OLD / request.param, tmp_path / "old"))


def test_partial_hypernetworks_go_on(tmp_path: Path) -> None:
    """Their stored biases begin at 0 now, so that a run begun today is another one; this one goes on with its own."""
    old = Path(shutil.copytree(OLD / "phn", tmp_path / "old"))
    assert resume(old / "seed-0")["costs"]["steps"] == 12
    assert restored(old / "seed-0").learner.model.num_tasks == 3


@pytest.mark.parametrize("old", [name for name in INTERRUPTED if name != "phn"], indirect=True)
def test_it_goes_on_and_ends_as_if_never_interrupted(old: Path, tmp_path: Path) -> None:
    result = resume(old / "seed-0")
    assert result["costs"]["steps"] > 0
    anew = tmp_path / "anew" / "seed-0"
    execute(saved_config(old / "seed-0"), 0, Place(anew))
    ours, theirs = restored(old / "seed-0").learner.model.stored(), restored(anew).learner.model.stored()
    for name, value in theirs.items():  # another processor rounds otherwise than the one that made it
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("old", ["hnet-finished", "hcr-finished"], indirect=True)
def test_it_is_read_and_reported(old: Path) -> None:
    assert read_result(old / "seed-0")["seed"] == 0
    assert restored(old / "seed-0").learner.model.num_tasks == 3
    [benchmark] = load([old]).benchmarks
    assert benchmark.name == "split-digits"
