import torch
from numpy import int64

from hypermnesia.core.rng import derive, generator


def test_derive_is_pinned():
    """These numbers are part of every published result: they may never change."""
    assert derive(0) == 7520536977032167579
    assert derive(42, "stream", 3) == 3240798708094407049
    assert derive(int64(42), "stream", 3) == 3240798708094407049


def test_derive_separates_everything_that_differs():
    seeds = [derive(0), derive(1), derive(0, "a"), derive(0, "a", "b"), derive(0, "ab"), derive(0, "b", "a")]
    seeds += [derive(0, 1), derive(0, "1"), derive(0, -1), derive(0, '",1,"'), derive(0, "", 1, "")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generator_repeats_itself_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    first = torch.rand(8, generator=generator(7, "x"))
    assert torch.equal(first, torch.rand(8, generator=generator(7, "x")))
    assert not torch.equal(first, torch.rand(8, generator=generator(7, "y")))
    assert torch.equal(torch.get_rng_state(), before)
    assert generator(7, "x").device.type == "cpu"
