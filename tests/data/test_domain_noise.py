import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import noisy
from hypermnesia.data.transforms import KINDS


def test_task_t_sees_its_own_classes_under_condition_t(make_source):
    source = make_source(classes=8, channels=3)
    stream = noisy(source, tasks=4, classes_per_task=2)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    for task, corrupt in zip(stream.tasks, KINDS.values(), strict=True):
        for part, images in ((task.train, source.train), (task.test, source.test)):
            everything = torch.arange(len(part))
            seen = part.batch(everything)[0]
            assert torch.equal(seen, corrupt(images.x[part.ids]))
            assert torch.equal(seen, part.batch(everything)[0])
    assert not stream.shared_labels


def test_classes_are_drawn_by_the_seed(make_source):
    source = make_source(classes=10, channels=3)
    names = {noisy(source, tasks=2, classes_per_task=2, seed=seed).class_names for seed in range(5)}
    assert len(names) > 1


def test_a_fifth_condition_does_not_exist(make_source):
    with pytest.raises(
        HypermnesiaError, match="stream.tasks=5, but noisy has 4 image conditions .*: at most 4 tasks"
    ):
        noisy(make_source(classes=10, channels=3), tasks=5, classes_per_task=2)
