import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import count
from hypermnesia.nets import ConvNetOptions, LeNetOptions, NetOptions, Shape, ZenkeNetOptions


@pytest.mark.parametrize(
    ("options", "shape", "outputs", "weights"),
    [
        (LeNetOptions(variant="small"), (1, 28, 28), 10, 21_840),
        (LeNetOptions(variant="large"), (1, 28, 28), 10, 431_080),
        (ZenkeNetOptions(variant="cifar"), (3, 32, 32), 10, 1_250_858),
        (ZenkeNetOptions(variant="cifar"), (3, 32, 32), 20, 1_255_988),
        (ZenkeNetOptions(variant="tiny"), (3, 64, 64), 5, 175_301),
        (
            ConvNetOptions(norm="none"),
            (3, 84, 84),
            5,
            112_576 + 1600 * 5 + 5,
        ),  # 1,600 features (arXiv:1703.05175)
    ],
    ids=str,
)
def test_published_sizes(options: NetOptions, shape: Shape, outputs: int, weights: int):
    assert count(options.build(shape, outputs).state_dict()) == weights


@pytest.mark.parametrize(
    ("options", "side", "text"),
    [
        (LeNetOptions(), 16, r"lenet takes no images of 17 x 15 pixels: the smallest are 16 x 16\."),
        (ZenkeNetOptions(), 10, r"zenkenet takes no images of 11 x 9 pixels: the smallest are 10 x 10\."),
        (ConvNetOptions(), 16, r"convnet takes no images of 17 x 15 pixels: the smallest are 16 x 16\."),
    ],
    ids=["lenet", "zenkenet", "convnet"],
)
def test_smallest_images(options: NetOptions, side: int, text: str):
    assert options.build((1, side, side), 2)(torch.zeros(1, 1, side, side)).shape == (1, 2)
    with pytest.raises(HypermnesiaError, match=text):
        options.build((1, side + 1, side - 1), 2)


def test_sizes_of_the_maps_of_zenkenet():
    net = ZenkeNetOptions().build((3, 32, 32), 10)
    x, sides = torch.zeros(1, 3, 32, 32), []
    for stage in ("conv1", "conv2", "conv3", "conv4"):
        x = net.get_submodule(stage)(x)
        sides.append(x.shape[-1])
    assert sides == [32, 15, 15, 6]


def test_dropout_of_maps_and_units():
    net = ZenkeNetOptions().build((3, 32, 32), 10).train()
    x = torch.rand(200, 32, 6, 6) + 1
    maps = net.get_submodule("conv2.dropout")(x)
    dropped = (maps == 0).flatten(2)
    assert torch.equal(dropped.any(-1), dropped.all(-1))
    assert 0.22 < dropped.float().mean() < 0.28
    assert 0.45 < (net.get_submodule("fc.dropout")(x) == 0).float().mean() < 0.55
