from collections import Counter

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import (
    StreamOptions,
    blurry,
    build,
    capped,
    few_shot,
    load,
    mnist360,
    open_source,
    permuted,
    split,
    with_validation,
)


def counts(part) -> list[int]:
    return sorted(Counter(part.y.tolist()).values())


def test_capped_keeps_a_stratified_choice_and_all_tests(make_source):
    stream = split(make_source(classes=4, per_class=20), tasks=2)
    short = capped(stream, 10, seed=0)
    for before, after in zip(stream.tasks, short.tasks, strict=True):
        assert counts(after.train) == [5, 5]
        assert set(after.train.ids.tolist()) < set(before.train.ids.tolist())
        assert after.test is before.test
    assert capped(stream, 10, seed=0).sha256 == short.sha256 != capped(stream, 10, seed=1).sha256
    assert capped(stream, 1000, seed=0).sha256 == stream.sha256


def test_few_shots_follow_a_whole_base(make_source):
    stream = split(make_source(classes=6, per_class=20), tasks=3)
    few = few_shot(stream, 3, seed=0)
    assert [counts(task.train) for task in few.tasks] == [[20, 20], [3, 3], [3, 3]]
    assert all(after.test is before.test for before, after in zip(stream.tasks, few.tasks, strict=True))
    assert few_shot(stream, 3, seed=0).sha256 == few.sha256 != few_shot(stream, 3, seed=1).sha256
    options = StreamOptions(shots=4, samples_per_task=30)
    assert [len(task.train) for task in load("split-digits", options=options).tasks] == [30, 8, 8, 8, 8]


def test_validation_is_cut_from_train_by_class(make_source):
    stream = split(make_source(classes=4, per_class=20), tasks=2)
    cut = with_validation(stream, 0.1, seed=0)
    for before, after in zip(stream.tasks, cut.tasks, strict=True):
        assert after.validation is not None
        assert counts(after.validation) == [2, 2]
        ids = [*after.train.ids.tolist(), *after.validation.ids.tolist()]
        assert sorted(ids) == before.train.ids.tolist()
        assert after.validation.images is before.train.images
        assert after.test is before.test
    assert with_validation(stream, 0.1, seed=0).sha256 == cut.sha256
    assert cut.sha256 not in (stream.sha256, with_validation(stream, 0.1, seed=1).sha256)


@pytest.mark.parametrize("benchmark", ["split-digits", "permuted-digits"])
def test_the_beginning_of_a_stream_has_its_very_tasks(benchmark):
    whole = load(benchmark, seed=3, options=StreamOptions(validation=0.1))
    part = load(benchmark, seed=3, options=StreamOptions(validation=0.1, first_tasks=2))
    assert part.manifest()["tasks"] == whole.manifest()["tasks"][:2]
    assert part.class_names == whole.class_names
    assert all(test is task.test for test, task in zip(part.tests, part.tasks, strict=True))
    with pytest.raises(HypermnesiaError, match=rf"first_tasks=99: {benchmark} has {len(whole.tasks)} tasks"):
        load(benchmark, options=StreamOptions(first_tasks=99))


def test_the_beginning_keeps_tests_by_class():
    by_class = build.tested_by_class(load("split-digits"), open_source("digits"))
    assert len(build.beginning(by_class, 2).tests) == 10


def test_nothing_to_cut_off_names_the_task(make_source):
    stream = capped(split(make_source(classes=4, per_class=4), tasks=2), 2, seed=0)
    with pytest.raises(
        HypermnesiaError, match=r"task 0 \(class 0, class 1\) has one training sample of each class"
    ):
        with_validation(stream, 0.5, seed=0)


@pytest.mark.parametrize("scenario", [split, permuted])
def test_blurry_streams_move_samples_and_lose_none(make_source, scenario):
    source = make_source(classes=6, per_class=40)
    stream = scenario(source, tasks=3)
    mixed = blurry(stream, 0.25, seed=0)

    def seen(tasks) -> Counter:
        found: Counter = Counter()
        for task in tasks:
            codes = torch.as_tensor(task.train.code).expand(len(task.train))
            found.update(zip(task.train.ids.tolist(), codes.tolist(), strict=True))
        return found

    assert seen(mixed.tasks) == seen(stream.tasks)
    assert not mixed.boundaries
    for before, after in zip(stream.tasks, mixed.tasks, strict=True):
        own, now = seen([before]), seen([after])
        given = round(0.25 * len(before.train))
        assert sum((own - now).values()) == given  # so many have left
        assert abs(sum((now - own).values()) - given) <= 2  # about as many came
        assert set(after.classes) == set(after.train.classes) == set(range(6))
        assert after.classes[: len(before.classes)] == before.classes
        assert after.test is before.test


def test_blurry_is_seeded_and_changes_the_manifest(make_source):
    stream = split(make_source(classes=4, per_class=20), tasks=2)
    hashes = [blurry(stream, 0.3, seed=seed).sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert stream.sha256 not in hashes


def test_what_cannot_be_blurred(make_source):
    with pytest.raises(HypermnesiaError, match="split has one task only"):
        blurry(split(make_source(), tasks=1), 0.1, seed=0)
    with pytest.raises(HypermnesiaError, match="mnist-360 has samples in a fixed order"):
        blurry(mnist360(make_source(classes=9)), 0.1, seed=0)
