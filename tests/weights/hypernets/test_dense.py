"""The plain hypernetwork against its formula, and HyperMask's published sizes."""

import pytest
import torch
from torch.nn import functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.dense import Dense, DenseOptions


def test_is_one_network_cut_into_tensors(cases):
    generator = cases["dense"].build()
    first, second = generator.trunk.layers
    for task in range(3):
        hidden = F.elu(F.linear(generator.embeddings[task], first.weight, first.bias))
        hidden = F.elu(F.linear(hidden, second.weight, second.bias))
        flat = generator.out.weight[:, :-1] @ hidden + generator.out.weight[:, -1]
        start = 0
        for name, value in generator([task]).items():
            expected = flat[start : start + value.numel()].reshape(value.shape[1:])
            torch.testing.assert_close(value[0], expected, msg=name)
            start += value.numel()
        assert start == len(flat)


@pytest.mark.parametrize(
    ("target", "embedding", "hidden", "tasks", "published"),
    [
        (2_036_010, 24, (100, 100), 10, 205_649_850),  # Permuted MNIST, MLP 1024-1000-1000-10
        (475_202, 128, (25, 25), 5, 12_359_767),  # Split MNIST, MLP 784-400-400-2
        (1_067_530, 48, (100,), 10, 107_825_910),  # Split CIFAR-100, ResNet-20 (widening 2) without its norms
        (1_250_858, 48, (100,), 10, 126_342_038),  # Split CIFAR-100, ZenkeNet
        (1_066_885, 96, (100, 100), 40, 107_779_025),  # Tiny ImageNet, ResNet-20
        (175_301, 96, (100, 100), 40, 17_729_041),  # Tiny ImageNet, ZenkeNet
        (1_068_820, 48, (200,), 5, 214_842_860),  # CIFAR-100 in 5 tasks, ResNet-20
        (1_255_988, 48, (200,), 5, 252_463_628),  # CIFAR-100 in 5 tasks, ZenkeNet
    ],
)
def test_hypermask_sizes(target, embedding, hidden, tasks, published):
    with torch.device("meta"):
        options = DenseOptions(embedding=embedding, hidden=hidden, activation="elu")
        generator = Dense(options, {"all": torch.Size((target,))})
    for _ in range(tasks):
        generator.grow(rng_of(0))
    assert sum(parameter.numel() for parameter in generator.parameters()) == published


def test_masks_can_start_open():
    shapes = {"w": torch.Size((50, 40))}
    for bias, low, high in ((0.0, 0.0, 0.5), (2.0, 0.9, 1.0)):
        rng = rng_of(0)
        generator = DenseOptions(activation="elu", mask_bias=bias).build(shapes, rng)
        generator.grow(rng)
        assert low < generator([0])["w"].tanh().abs().mean() < high
    with pytest.raises(HypermnesiaError, match=r"generator.mask_bias=2.0 needs a generator with bias=true"):
        DenseOptions(bias=False, mask_bias=2.0).build(shapes, rng_of(0))
