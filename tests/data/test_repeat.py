import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Source, Stream, dual, from_tensors, geometric, sampling, slots


def source_of(counts: list[int]) -> Source:
    """`counts[c]` training samples of class c, and one test sample of each class."""
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    test = torch.arange(len(counts))
    return from_tensors(torch.zeros(len(y), 2, 2).byte(), y, torch.zeros(len(test), 2, 2).byte(), test)


def all_ids(stream: Stream) -> list[int]:
    return sorted(i for task in stream.tasks for i in task.train.ids.tolist())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
def test_slots_show_every_sample_exactly_once(classes: int, tasks: int, each: int, seed: int):
    source = source_of([37 + 5 * c for c in range(classes)])
    if each > classes or each * tasks < classes:
        with pytest.raises(
            HypermnesiaError, match=f"expected at most {classes} slots in a task and at least"
        ):
            slots(source, tasks=tasks, classes_per_task=each, seed=seed)
        return
    stream = slots(source, tasks=tasks, classes_per_task=each, seed=seed)
    assert len(stream.tasks) == tasks
    assert all_ids(stream) == list(range(len(source.train)))
    assert all(len(task.classes) <= each for task in stream.tasks)
    assert len(stream.tasks[-1].classes) == each  # filled first, so from different classes
    for task in stream.tasks:
        assert set(task.train.classes) == set(task.classes)
        assert task.test.classes == tuple(sorted(task.classes))


def test_slots_are_dealt_evenly_to_classes_and_a_class_is_cut_evenly():
    stream = slots(source_of([100] * 4), tasks=6, classes_per_task=3)
    in_tasks = [Counter(task.train.y.tolist()) for task in stream.tasks]
    sizes = [{counts[c] for counts in in_tasks if c in counts} for c in range(4)]
    # 18 slots for 4 classes: two have 5 slots of 20 samples, two have 4 of 25; the first tasks hold several.
    fifths = [all(size % 20 == 0 for size in found) for found in sizes]
    quarters = [all(size % 25 == 0 for size in found) for found in sizes]
    assert (sum(fifths), sum(quarters)) == (2, 2)


def test_as_many_slots_as_classes_in_each_task_is_domain_incremental():
    stream = slots(source_of([12] * 3), tasks=4, classes_per_task=3)
    assert all(task.classes == (0, 1, 2) for task in stream.tasks)
    assert all(Counter(task.train.y.tolist()) == {0: 3, 1: 3, 2: 3} for task in stream.tasks)


def test_slots_are_seeded():
    source = source_of([50] * 5)
    hashes = [slots(source, tasks=4, classes_per_task=2, seed=seed).sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_class_too_small_for_its_slots():
    with pytest.raises(HypermnesiaError, match="class 1 has 2 samples for 4 slots; use fewer tasks or slots"):
        slots(source_of([9, 2]), tasks=4, classes_per_task=2)


def test_tests_are_one_for_each_class_numbered_by_appearance():
    source = source_of([30] * 6)
    for stream in (
        slots(source, tasks=5, classes_per_task=2),
        sampling(source, tasks=9, samples_per_task=10, first=geometric(9, 0.3), recurrence=0.3),
    ):
        assert [part.classes for part in stream.tests] == [(c,) for c in range(stream.num_classes)]
        brought = [c for task in stream.tasks for c in task.classes]
        assert list(dict.fromkeys(brought)) == list(range(stream.num_classes))
        for c, part in enumerate(stream.tests):
            assert [source.class_names[y] for y in source.test.y[part.ids]] == [stream.class_names[c]]


def test_sampling_draws_evenly_without_repeating_within_a_task():
    source = source_of([40] * 5)
    stream = sampling(source, tasks=30, samples_per_task=33, first=geometric(30, 0.3), recurrence=0.5)
    shared = 0
    for task in stream.tasks:
        ids = task.train.ids.tolist()
        assert len(ids) == len(set(ids)) == 33
        counts = Counter(task.train.y.tolist())
        assert set(counts) == set(task.classes)
        assert max(counts.values()) - min(counts.values()) <= 1
        shared += len(ids)
    assert shared > len(set(all_ids(stream)))  # samples come back in later tasks


def test_sampling_lets_large_classes_make_up_for_small_ones():
    first = torch.tensor([1.0])
    stream = sampling(source_of([3, 50, 50]), tasks=1, samples_per_task=63, first=first, recurrence=0)
    assert sorted(Counter(stream.tasks[0].train.y.tolist()).values()) == [3, 30, 30]
    stream = sampling(source_of([3, 4]), tasks=1, samples_per_task=63, first=first, recurrence=0)
    assert len(stream.tasks[0].train) == 7


def test_first_appearance_and_recurrence():
    source = source_of([5] * 4)
    never = torch.tensor([0.0, 0.0, 1.0])
    stream = sampling(source, tasks=3, samples_per_task=8, first=never, recurrence=1.0)
    assert [len(task.classes) for task in stream.tasks] == [4]  # tasks without a class are left out
    always = sampling(source, tasks=3, samples_per_task=8, first=never.flip(0), recurrence=1.0)
    assert [task.classes for task in always.tasks] == [(0, 1, 2, 3)] * 3
    once = sampling(source, tasks=3, samples_per_task=8, first=never.flip(0), recurrence=0.0)
    assert len(once.tasks) == 1


def test_classes_return_with_their_probability():
    source = source_of([5] * 40)
    first = torch.zeros(200)
    first[0] = 1
    stream = sampling(
        source, tasks=200, samples_per_task=40, first=first, recurrence=dual(40, 0.25, 0.1, 0.8)
    )
    share = torch.zeros(40)
    for task in stream.tasks[1:]:
        share[list(task.classes)] += 1 / 199
    assert sorted(share.tolist())[9] < 0.25
    assert sorted(share.tolist())[10] > 0.65


def test_weights_of_the_generators():
    assert geometric(3, 0.5).tolist() == [1, 0.5, 0.25]
    assert dual(5, 0.5, 0.1, 1.0).tolist() == [0.1, 0.1, 1, 1, 1]
    assert int((dual(100, 0.29, 0.1, 1.0) < 1).sum()) == 29


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"first": torch.ones(2)}, "expected 3 weights ≥ 0, not all 0"),
        ({"first": torch.zeros(3)}, "expected 3 weights ≥ 0, not all 0"),
        ({"recurrence": 1.5}, "recurrence is 1.5; expected probabilities in 0..1"),
    ],
)
def test_bad_sampling(change: dict, text: str):
    good = {"tasks": 3, "samples_per_task": 4, "first": torch.ones(3), "recurrence": 0.5}
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        sampling(source_of([5, 5]), **(good | change))
