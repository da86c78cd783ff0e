import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import WideResNetOptions
from hypermnesia.nets.wide_resnet import WideBlock


def meta(options: WideResNetOptions, outputs: int) -> nn.Sequential:
    with torch.device("meta"):
        return options.build((3, 32, 32), outputs)


@pytest.mark.parametrize(("outputs", "weights"), [(10, 36_479_194), (100, 36_536_884)])
def test_published_sizes(outputs: int, weights: int):
    assert sum(p.numel() for p in meta(WideResNetOptions(), outputs).parameters()) == weights


def test_layers_of_28_10():
    net = meta(WideResNetOptions(), 10)
    convolutions = [name for name, p in net.named_parameters() if p.ndim == 4 and "projection" not in name]
    assert len(convolutions) == 25  # 28 counts the projections of the three layers as well
    assert sum("projection" in name for name, _ in net.named_parameters()) == 3
    assert meta(WideResNetOptions(head_bias=False), 10).head.bias is None


@pytest.mark.parametrize("changes", [True, False])
def test_block_equals_its_formula(changes: bool):
    outputs, stride = (6, 2) if changes else (4, 1)
    block = WideBlock(4, outputs, stride, torch.nn.BatchNorm2d, False, 0.0).eval()
    x = torch.randn(2, 4, 8, 8)
    scale = (1 + 1e-5) ** -0.5  # a fresh batch norm in evaluation: mean 0, variance 1
    active = F.relu(x * scale)
    h = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    h = F.conv2d(F.relu(h * scale), block.conv2.weight, padding=1)
    past = F.conv2d(active, block.get_parameter("projection.weight"), stride=stride) if changes else x
    torch.testing.assert_close(block(x), h + past)


def test_dropout_lies_between_the_convolutions():
    block = WideBlock(4, 4, 1, torch.nn.BatchNorm2d, False, 0.5)
    assert block.dropout.p == 0.5
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"depth": 20}, r"net\.depth=20: wide-resnet has 6n \+ 4 layers, such as 16 or 22"),
        (
            {"norm": "group", "norm_groups": 20},
            r"does not divide .*\(16, 160, 320, 640\): choose one of 1, 2, 4, 8, 16",
        ),
    ],
)
def test_bad_options(options: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        WideResNetOptions(**options)
