"""The residual bottleneck: what it computes, and that a batch leaves no bit behind."""

import torch
from torch import nn

from hypermnesia.core.rng import generator
from hypermnesia.nets import BottleneckOptions, stages
from hypermnesia.nets.bottleneck import Bottleneck


def trained() -> Bottleneck:
    adapter, rng = Bottleneck(37, 9), generator(0, "bottleneck")
    for weight in adapter.parameters():
        nn.init.normal_(weight, std=0.3, generator=rng)
    return adapter


def test_it_begins_by_leaving_features_as_they_are() -> None:
    net = BottleneckOptions(width=5).build((7,), 3)
    assert stages(net) == ("flatten", "adapter", "head")
    x = torch.randn(4, 7, generator=generator(0, "x"))
    assert torch.equal(net.get_submodule("adapter")(x), x)
    torch.testing.assert_close(net(x), net.get_submodule("head")(x))


def test_whole_numbers_say_what_floats_say_and_a_batch_leaves_no_bit() -> None:
    adapter, x = trained(), torch.randn(50, 37, generator=generator(0, "x"))
    smooth = x + (x @ adapter.down.weight.T).relu() @ adapter.up.weight.T
    torch.testing.assert_close(adapter(x), smooth)
    with torch.no_grad():
        whole = adapter(x)
        torch.testing.assert_close(whole, smooth.detach(), rtol=0, atol=0.01)
        one_by_one = torch.cat([adapter(row[None]) for row in x])
    assert torch.equal(whole, one_by_one) and torch.equal(whole * 2**12, (whole * 2**12).round())
