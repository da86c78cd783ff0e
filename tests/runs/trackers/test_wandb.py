"""Weights & Biases in offline mode."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("wandb") is None, reason="wandb is not installed: pip install 'hypermnesia[wandb]'"
)

RUN = """
import sys
from pathlib import Path
from runs.trackers.tracked import interrupted, run
begin = {"whole": run, "half": interrupted}[sys.argv[1]]
begin(Path(sys.argv[2]), "wandb")
"""


def in_a_process(how: str, directory: Path) -> None:
    """wandb starts a service of its own, whose warnings and leftovers are not ours."""
    here = Path(__file__).parents[1]
    path = os.pathsep.join([str(here), str(here.parent / "src"), *sys.path])
    env = os.environ | {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_API_KEY": "x" * 40,
        "PYTHONPATH": path,
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, how, str(directory)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_an_offline_run_is_written_and_goes_on_after_an_interruption(tmp_path):
    in_a_process("half", tmp_path)
    in_a_process("whole", tmp_path)
    parts = sorted((tmp_path / "seed-0" / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    assert len({part.name.split("-", 3)[3] for part in parts}) == 1  # one id: one run on the server
    for part in parts:
        [store] = part.glob("run-*.wandb")
        content = store.read_bytes()
        assert b"accuracy/task" in content and b"train.iterations" in content
    assert all(b"x" * 40 not in f.read_bytes() for f in (tmp_path / "seed-0").rglob("*") if f.is_file())
