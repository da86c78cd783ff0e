import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import count
from hypermnesia.nets import ZenkeNetOptions


@pytest.mark.parametrize(
    ("variant", "shape", "outputs", "weights"),
    [
        ("cifar", (3, 32, 32), 10, 1_250_858),
        ("cifar", (3, 32, 32), 20, 1_255_988),
        ("tiny", (3, 64, 64), 5, 175_301),
    ],
)
def test_published_sizes(variant, shape: tuple[int, int, int], outputs: int, weights: int):
    assert count(ZenkeNetOptions(variant=variant).build(shape, outputs).state_dict()) == weights


def test_sizes_of_the_maps():
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


def test_smallest_images():
    net = ZenkeNetOptions().build((1, 10, 10), 2)
    assert net(torch.zeros(1, 1, 10, 10)).shape == (1, 2)
    with pytest.raises(
        HypermnesiaError, match=r"zenkenet takes no images of 9 x 10 pixels: the smallest are 10 x 10"
    ):
        ZenkeNetOptions().build((1, 9, 10), 2)


@pytest.mark.parametrize("field", ["dropout", "dropout2d"])
def test_bad_dropout(field: str):
    with pytest.raises(HypermnesiaError, match=rf"net\.{field}=-0\.1: expected a probability"):
        ZenkeNetOptions(**{field: -0.1})
