import numpy as np
import pytest
import torch

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import permuted, rotated


def test_permuted_tasks_have_all_samples_in_guises_of_their_own(make_source):
    source = make_source()
    stream = permuted(source, tasks=3, pad=1, first_permuted=False, seed=4)
    assert stream.shared_labels
    assert stream.shape == (1, 10, 10)
    everything = torch.arange(len(source.train))
    plain = torch.nn.functional.pad(source.train.x, [1] * 4)
    views = [task.train.batch(everything)[0] for task in stream.tasks]
    assert torch.equal(views[0], plain)
    for view in views[1:]:
        assert not torch.equal(view, plain)
        assert torch.equal(view.flatten(1).sort().values, plain.flatten(1).sort().values)
    assert not torch.equal(views[1], views[2])
    for task in stream.tasks:
        assert task.classes == (0, 1, 2, 3)
        assert torch.equal(task.train.y, source.train.y)
    assert stream.tasks[0].name == "unpermuted"


def test_train_and_test_share_the_permutation(make_source):
    stream = permuted(make_source(), tasks=2)
    task = stream.tasks[1]
    assert task.train.code == task.test.code == 1
    assert task.train.transform is task.test.transform
    assert stream.tasks[0].name == "permutation 0"


def test_the_same_seed_permutes_and_turns_alike(make_source):
    source = make_source()
    for scenario in (permuted, rotated):
        assert scenario(source, tasks=3, seed=1).sha256 == scenario(source, tasks=3, seed=1).sha256
        assert scenario(source, tasks=3, seed=1).sha256 != scenario(source, tasks=3, seed=2).sha256


def test_rotations_lie_between_nothing_and_half_a_turn(make_source):
    stream = rotated(make_source(), tasks=50)
    degrees = stream.tasks[0].train.transform.degrees
    assert degrees.min() >= 0
    assert degrees.max() <= 180
    assert degrees.max() - degrees.min() > 120
    assert stream.tasks[7].name == f"{degrees[7]:.1f} degrees"
    assert stream.shape == (1, 8, 8)


@pytest.mark.parametrize("make", [permuted, rotated])
def test_there_is_no_stream_of_no_tasks(make_source, make):
    with pytest.raises(HypermnesiaError, match=r"^stream\.tasks=0: expected a whole number, at least 1$"):
        make(make_source(), tasks=0)


def test_a_margin_adds_pixels_and_takes_none_away(make_source):
    with pytest.raises(HypermnesiaError, match=r"^pad=-1: expected a whole number, at least 0$"):
        permuted(make_source(), tasks=2, pad=-1)


def test_more_tasks_than_a_stream_may_have_are_refused_before_anything_is_drawn(make_source):
    vectors = hm.from_arrays(
        np.random.default_rng(0).normal(size=(8, 2)), np.arange(8) / 8.0, task="regression"
    )
    made = (
        lambda: permuted(make_source(), tasks=10**9),
        lambda: rotated(make_source(), tasks=10**9),
        lambda: hm.split(vectors, tasks=10**9),
    )
    for make in made:
        with pytest.raises(HypermnesiaError, match="stream.tasks=1000000000: expected at most 99999"):
            make()
