"""docs/scenarios.md says which scenarios apply: its table against the code."""

import re
from pathlib import Path
from typing import cast, get_args

import pytest
from torch import nn

from hypermnesia.data import Stream
from hypermnesia.data.outline import from_outline
from hypermnesia.evaluation.evaluate import applicable
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.model import Model
from hypermnesia.weights.outputs import Head, HeadKind

PAGE = Path(__file__).parents[2] / "docs" / "scenarios.md"
CLASSES = {
    "classes of its own in every task, equally many": ((0, 1), (2, 3), (4, 5)),
    "classes of its own in every task, unequally many": ((0, 1, 2), (3, 4), (5,)),
    "the same classes in every task": ((0, 1, 2), (0, 1, 2)),
    "classes return, tested class by class": ((0, 1, 2), (1, 2, 3)),
}
"""What the table says of a stream, without its examples: the classes of each task."""


def rows() -> list[tuple[str, str, tuple[str, ...]]]:
    """(stream, head, scenarios) for every head of every line of the table."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith(("classes", "the same")):
            stream = re.sub(r" \(.*\)", "", cells[0])
            found += [(stream, head, tuple(cells[2].split(", "))) for head in cells[1].split(", ")]
    return found


def stream_of(kind: str) -> Stream:
    tasks = CLASSES[kind]
    names = sorted({str(c) for classes in tasks for c in classes})
    return from_outline(
        {
            "name": kind,
            "shape": [1, 2, 2],
            "class_names": names,
            "tasks": [{"name": str(classes), "classes": list(classes)} for classes in tasks],
            "tests": len(names) if "return" in kind else "tasks",
            "preprocess": {"mean": [0.0], "std": [1.0], "crop": 0, "flip": False},
            "boundaries": True,
            "shared_labels": "same" in kind,
            "ordered": False,
        }
    )


def scenarios(trained: Stream, tested: Stream, kind: HeadKind) -> tuple[str, ...]:
    classes = tuple(task.classes for task in trained.tasks)
    model = Model(nn.Identity(), Head(kind, classes, trained.num_classes))
    learner = Learner({"main": model}, trained.preprocess, trained.shape, trained.num_classes, classes)
    return applicable(learner, tested)


def test_the_table_covers_every_stream_and_head():
    assert sorted((stream, head) for stream, head, _ in rows()) == sorted(
        (stream, head) for stream in CLASSES for head in get_args(HeadKind)
    )


@pytest.mark.parametrize(("stream", "head", "expected"), rows())
def test_the_table_is_right(stream: str, head: str, expected: tuple[str, ...]):
    made = stream_of(stream)
    assert scenarios(made, made, cast("HeadKind", head)) == expected


@pytest.mark.parametrize("stream", CLASSES)
@pytest.mark.parametrize("head", get_args(HeadKind))
def test_joint_training_reports_what_a_shared_head_reports(stream: str, head: HeadKind):
    made = stream_of(stream)
    assert scenarios(made.joined(), made, head) == scenarios(made, made, "shared")
