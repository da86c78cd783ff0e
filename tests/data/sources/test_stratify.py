import torch
from hypothesis import given
from hypothesis import strategies as st

from hypermnesia.core.rng import generator
from hypermnesia.data.sources.stratify import hold_out, shares, take


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_shares_are_proportional_within_one(sizes: list[int], data: st.DataObject):
    total = data.draw(st.integers(0, sum(sizes)))
    parts = shares(sizes, total)
    assert sum(parts) == total
    for part, size in zip(parts, sizes, strict=True):
        exact = size * total / sum(sizes)
        assert 0 <= part <= size
        assert abs(part - exact) < 1


def test_equal_remainders_go_to_the_first():
    assert shares([5, 5, 5], 4) == [2, 1, 1]


def test_take_keeps_the_shares_of_the_classes_and_is_seeded():
    y = torch.tensor([0] * 60 + [2] * 30 + [5] * 10)
    chosen = take(y, 10, generator(0))
    assert torch.bincount(y[chosen]).tolist() == [6, 0, 3, 0, 0, 1]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(chosen, take(y, 10, generator(0)))
    assert not torch.equal(chosen, take(y, 10, generator(1)))


def test_hold_out_takes_the_fraction_of_each_class_but_neither_none_nor_all():
    y = torch.tensor([0] * 20 + [1] * 2 + [3] * 3)
    kept, held = hold_out(y, 0.1, generator(0))
    assert torch.bincount(y[held]).tolist() == [2, 1, 0, 1]
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(25))
    kept, held = hold_out(y, 0.9, generator(0))
    assert torch.bincount(y[kept]).tolist() == [2, 1, 0, 1]


def test_a_single_sample_is_kept():
    kept, held = hold_out(torch.tensor([0, 0, 7]), 0.5, generator(0))
    assert 2 in kept
    assert len(held) == 1
    assert len(hold_out(torch.tensor([1, 7]), 0.5, generator(0))[1]) == 0
