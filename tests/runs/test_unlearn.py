"""A run without some of its classes is the run that never had them."""

from pathlib import Path

import pytest
import torch
from running import read

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute, execute_seeds, restored
from hypermnesia.runs.unlearn import unlearn

WORDS = ["stream.tasks=5", "train.threads=1"]


def test_it_is_the_run_that_never_saw_them(tmp_path: Path) -> None:
    """Tasks of two digits; the last one, 8 and 9, is taken out: the first four are left."""
    execute_seeds(resolve("split-digits", "ridge", WORDS), [0, 1], tmp_path / "run")
    found = unlearn(tmp_path / "run", ["8", "9"])
    assert found.directory == tmp_path / "run-without-8-9" and found.samples > 200
    execute(
        resolve("split-digits", "ridge", [*WORDS, "stream.first_tasks=4"]), 0, Place(tmp_path / "four/seed-0")
    )
    ours = restored(found.directory / "seed-0").learner.state
    theirs = restored(tmp_path / "four/seed-0").learner.state
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
    assert torch.equal(ours.moments.gram, theirs.moments.gram)
    rows = read(found.directory / "seed-0/result.json")["scenarios"]["class"]["matrix"]
    assert len(rows) == 5 and rows[-1][-1] == 0 and min(rows[-1][:4]) > 0.8
    assert read(tmp_path / "run/seed-0/result.json")["scenarios"]["class"]["matrix"][-1][-1] > 0.8, "it stays"
    assert found.summary["seeds"] == [0, 1]
    with pytest.raises(HypermnesiaError, match="run-without-8-9 exists already"):
        unlearn(tmp_path / "run", ["8", "9"])
    with pytest.raises(HypermnesiaError, match="taken out that were never put in"):
        unlearn(found.directory, ["8"])


@pytest.mark.parametrize(
    ("approach", "classes", "said"),
    [
        ("ncm", ["owl"], "unknown class 'owl'"),
        ("ncm", [], "name the classes to take out"),
        ("finetune", ["1"], "finetune cannot take classes out again"),
    ],
)
def test_what_cannot_be_taken_out(tmp_path: Path, approach: str, classes: list[str], said: str) -> None:
    words = [*WORDS, "train.iterations=2"] if approach == "finetune" else WORDS
    execute_seeds(resolve("split-digits", approach, words), [0], tmp_path / "run")
    with pytest.raises(HypermnesiaError, match=said):
        unlearn(tmp_path / "run", classes)
