"""A stream without its samples."""

import json
from dataclasses import replace

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import StreamOptions, from_tensors, load, permuted, split
from hypermnesia.data.outline import from_outline, outline
from hypermnesia.evaluation.evaluate import tests_are_tasks as one_test_per_task


@pytest.fixture(scope="module")
def stream():
    return load("split-digits", options=StreamOptions(order="seed"))


def test_all_but_the_samples_comes_back(stream):
    again = from_outline(json.loads(json.dumps(outline(stream))))
    assert outline(again) == outline(stream)
    assert (again.shape, again.preprocess, again.class_names) == (
        stream.shape,
        stream.preprocess,
        stream.class_names,
    )
    assert [task.classes for task in again.tasks] == [task.classes for task in stream.tasks]
    assert all(len(task.train) == len(task.test) == 0 for task in again.tasks)
    assert one_test_per_task(again)


def test_an_outline_keeps_how_images_are_augmented(stream):
    preprocess = replace(stream.preprocess, jitter=0.25, autoaugment="cifar10")
    changed = replace(stream, preprocess=preprocess)
    assert from_outline(json.loads(json.dumps(outline(changed)))).preprocess == preprocess


def test_joined_outlines_have_one_task(stream):
    joined = from_outline(outline(stream)).joined()
    assert [task.classes for task in joined.tasks] == [tuple(range(10))]
    assert len(joined.tests) == 5


def test_streams_that_test_by_class(stream):
    by_class = from_outline(outline(stream) | {"tests": 10})
    assert len(by_class.tests) == 10
    assert not one_test_per_task(by_class)
    assert outline(by_class)["tests"] == 10


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, -8, 8]},
        {"shape": [10**6, 10**6, 3]},
        {"shape": "8x8"},
        {"class_names": []},
        {"class_names": None},
        {"tasks": []},
        {"tasks": [{"name": "a", "classes": [10]}]},
        {"tasks": [{"name": "a", "classes": []}]},
        {"tasks": [{"name": "a", "classes": [0.5]}]},
        {"tests": -1},
        {"tests": 10**12},
        {"preprocess": {"mean": [0.0], "std": [0.0], "crop": 0, "flip": False}},
        {"preprocess": {"mean": [0.0], "std": [1.0], "crop": True, "flip": False}},
        {"preprocess": None},
    ],
)
def test_what_is_no_outline_is_told(stream, change):
    with pytest.raises(HypermnesiaError):
        from_outline(outline(stream) | change)


@pytest.mark.parametrize("value", [None, [], 3, "x", {}])
def test_other_values_are_told(value):
    with pytest.raises(HypermnesiaError, match="no outline of a stream"):
        from_outline(value)


def test_empty_parts_can_be_asked(stream):
    part = from_outline(outline(stream)).tasks[0].train
    raw, y = part.batch(torch.zeros(0, dtype=torch.int64))
    assert raw.shape == (0, 1, 8, 8) and len(y) == 0


def test_samples_as_large_as_are_decoded_can_be_resumed():
    x, y = torch.zeros(2, 3, 700, 700, dtype=torch.uint8), torch.arange(2)  # more than 10⁶ numbers
    large = split(from_tensors(x, y, x, y), tasks=2)
    assert from_outline(json.loads(json.dumps(outline(large)))).shape == (3, 700, 700)


def test_what_no_outline_may_hold_is_no_source(monkeypatch: pytest.MonkeyPatch):
    """So it is refused before there is a run that could not be resumed."""
    x, y = torch.zeros(2, 8), torch.arange(2)
    monkeypatch.setattr("hypermnesia.data.sources.source.MOST_VALUES", 7)
    with pytest.raises(HypermnesiaError, match="and at most 7 numbers in a sample"):
        from_tensors(x, y, x, y)
    monkeypatch.setattr("hypermnesia.data.build.MOST_TASKS", 9)
    monkeypatch.setattr("hypermnesia.data.sources.source.MOST_VALUES", 8)
    with pytest.raises(HypermnesiaError, match="^stream.tasks=10: expected at most 9"):
        permuted(from_tensors(x, y, x, y), tasks=10)
