import re

import numpy as np
import pytest
import torch
from data.conftest import MakeSource

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import split


def test_each_task_holds_all_samples_of_its_own_classes(make_source):
    source = make_source(classes=4)
    stream = split(source, tasks=2, classes_per_task=2)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert [task.name for task in stream.tasks] == ["class 0, class 1", "class 2, class 3"]
    for task, test in zip(stream.tasks, stream.tests, strict=True):
        assert test is task.test
        for part, images in ((task.train, source.train), (task.test, source.test)):
            expected = [i for i, y in enumerate(images.y.tolist()) if y in task.classes]
            assert part.ids.tolist() == expected
            x, y = part.batch(torch.arange(len(part)))
            assert torch.equal(x, images.x[expected])
            assert torch.equal(y, images.y[expected])
    assert (stream.num_classes, stream.shape, stream.shared_labels, stream.boundaries) == (
        4,
        (1, 8, 8),
        False,
        True,
    )


def test_global_ids_number_the_classes_as_the_tasks_bring_them(make_source):
    stream = split(make_source(classes=5), tasks=2, classes_per_task=2, order=[3, 1, 4, 0])
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert stream.class_names == ("class 3", "class 1", "class 4", "class 0")
    part = stream.tasks[1].train
    assert [stream.class_names[y] for y in part.y] == [f"class {y}" for y in part.images.y[part.ids]]


def test_an_order_may_be_an_array(make_source):
    source = make_source(classes=3)
    expected = split(source, order=[2, 0, 1]).class_names
    for order in (np.array([2, 0, 1]), torch.tensor([2, 0, 1])):
        assert split(source, order=order).class_names == expected


def test_seeded_order(make_source):
    source = make_source(classes=8)
    names = [split(source, order="seed", seed=seed).class_names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert sorted(names[2]) == list(source.class_names)
    assert split(source, order="label", seed=1).class_names == source.class_names


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        ({}, [3, 2]),
        ({"tasks": 3}, [2, 2, 1]),
        ({"tasks": 5}, [1] * 5),
        ({"classes_per_task": 2}, [2, 2]),
        ({"tasks": 1, "classes_per_task": 3}, [3]),
    ],
)
def test_sizes_of_tasks_over_five_classes(make_source, asked: dict[str, int], sizes: list[int]):
    stream = split(make_source(classes=5), **asked)
    assert [len(task.classes) for task in stream.tasks] == sizes


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"tasks": 6}, "6 tasks need 6 classes, tensors gives 5: at most 5 tasks"),
        (
            {"tasks": 3, "classes_per_task": 2},
            "3 tasks of 2 classes need 6 classes, tensors gives 5; the most possible is 2 tasks",
        ),
        (
            {"classes_per_task": 6},
            "1 tasks of 6 classes need 6 classes, tensors gives 5; the most possible is 0 tasks",
        ),
        (
            {"order": [0, 9]},
            "stream.order [0, 9]: class 9 does not exist; expected classes 0..4, each at most once",
        ),
        ({"order": [0, 1, 0]}, "stream.order [0, 1, 0]: a class occurs twice"),
        ({"order": "random"}, "stream.order is 'random'; expected 'label', 'seed' or a list of class ids"),
    ],
)
def test_what_cannot_be_split(make_source, asked: dict, text: str):
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        split(make_source(classes=5), **asked)


@pytest.mark.parametrize("field", ["tasks", "classes_per_task"])
@pytest.mark.parametrize("value", [0, -1])
def test_there_is_no_stream_of_no_tasks(make_source, field: str, value: int):
    with pytest.raises(
        HypermnesiaError, match=rf"^stream\.{field}={value}: expected a whole number, at least 1$"
    ):
        split(make_source(classes=4), **{field: value})


def test_a_base_and_increments(make_source: MakeSource):
    source = make_source(classes=9)
    sizes = [len(task.classes) for task in split(source, classes_per_task=[5, 2, 2]).tasks]
    assert sizes == [5, 2, 2]
    assert [len(task.classes) for task in split(source, classes_per_task=[4, 1], tasks=4).tasks] == [
        4,
        1,
        1,
        1,
    ]
    listed = hm.StreamOptions(classes_per_task=(4, 3, 3))
    assert [len(task.classes) for task in hm.load("split-digits", options=listed).tasks] == [4, 3, 3]
    for options, said in (
        ({"classes_per_task": [5, 3, 2]}, r"tasks of \[5, 3, 2\] classes need 10 classes, .* gives 9"),
        ({"classes_per_task": [5, 2], "tasks": 1}, r"lists 2 tasks; leave out stream.tasks"),
        ({"classes_per_task": []}, "is an empty list"),
        ({"classes_per_task": [3, 0]}, r"stream.classes_per_task=0: expected a whole number"),
    ):
        with pytest.raises(HypermnesiaError, match=said):
            split(source, **options)
