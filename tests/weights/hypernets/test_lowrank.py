"""The low-rank generator against its formula, its size and its ways to start."""

import pytest
import torch
from torch.nn import functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.lowrank import LowRankOptions, OuterHead


def mlp() -> dict[str, torch.Size]:
    widths = (784, 400, 400, 10)
    weights = zip(widths[1:], widths[:-1], strict=True)
    return {f"{i}.weight": torch.Size(shape) for i, shape in enumerate(weights)} | {
        "bias": torch.Size((400,))
    }


def test_writes_sums_of_outer_products(cases):
    generator = cases["low-rank"].build()
    layer = generator.trunk.layers[0]
    names = [name for group in generator.groups for name in group]
    assert sorted(names) == sorted(generator.shapes)
    for task in range(3):
        written = generator([task])
        for group, head in zip(generator.groups, generator.per_group(), strict=True):
            for name, shape in group.items():
                x = torch.cat([generator.layers.weight[names.index(name)], generator.embeddings[task]])
                z = F.relu(F.linear(x, layer.weight, layer.bias))
                if isinstance(head, OuterHead):
                    u, v = head.u(z).reshape(-1, 2), head.v(z).reshape(-1, 2)
                    expected = sum(torch.outer(u[:, r], v[:, r]) for r in range(2)).reshape(shape)
                else:
                    expected = head.out(z).reshape(shape)
                torch.testing.assert_close(written[name][0], expected, msg=name)


def test_matrices_of_one_size_share_a_head(cases):
    """The twins do; every other size has its own. Matrices that are too small for the rank are written in
    full."""
    generator = cases["low-rank"].build()
    assert [list(group) for group in generator.groups] == [
        ["conv.weight"],
        ["conv.bias"],
        ["mid.weight", "twin.weight"],
        ["mid.bias"],
        ["scale"],
        ["head.weight"],
        ["head.bias"],
    ]
    small = LowRankOptions(rank=4).build({"w": torch.Size((6, 9))}, rng_of(0))
    assert not isinstance(small.per_group()[0], OuterHead)


def test_is_smaller_than_its_target():
    shapes = mlp()
    target = sum(shape.numel() for shape in shapes.values())
    generator = LowRankOptions().build(shapes, rng_of(0))
    for _ in range(5):
        generator.grow(rng_of(1))
    assert sum(parameter.numel() for parameter in generator.parameters()) < target / 2


def test_depth_costs_one_layer_embedding_per_tensor():
    sizes = []
    for depth in (2, 12):
        shapes = {f"{i}.weight": torch.Size((64, 64)) for i in range(depth)}
        generator = LowRankOptions(layer_embedding=8).build(shapes, rng_of(0))
        sizes.append(sum(parameter.numel() for parameter in generator.parameters()))
    assert sizes[1] - sizes[0] == 10 * 8


def test_additions_start_at_zero_and_learn():
    rng = rng_of(0)
    generator = LowRankOptions(init="zero").build(mlp(), rng)
    generator.grow(rng)
    written = generator([0])
    assert all(torch.equal(value, torch.zeros_like(value)) for value in written.values())
    sum(value.sum() for value in written.values()).backward()
    for head in generator.per_group():
        weight = head.u.weight if isinstance(head, OuterHead) else head.out.weight
        assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_masks_can_start_open():
    rng = rng_of(0)
    generator = LowRankOptions(mask_bias=2.0).build(mlp(), rng)
    generator.grow(rng)
    for name, value in generator([0]).items():
        assert value.tanh().abs().mean() > 0.85, name


def test_contradictory_starts_are_told():
    with pytest.raises(HypermnesiaError, match="init=zero writes zeros, generator.mask_bias would undo that"):
        LowRankOptions(init="zero", mask_bias=1.0)
