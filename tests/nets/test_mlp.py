import pytest
import torch
from torch import Tensor, nn

from hypermnesia.core.tensors import count
from hypermnesia.nets import MLPOptions

MNIST = (1, 28, 28)
PADDED = (1, 32, 32)


@pytest.mark.parametrize(
    ("hidden", "shape", "outputs", "weights"),
    [
        ((100, 100), MNIST, 2, 88_802),
        ((100, 100), PADDED, 10, 113_610),
        ((400, 400), MNIST, 2, 475_202),
        ((1000, 1000), PADDED, 10, 2_036_010),
        ((), MNIST, 10, 7_850),
    ],
)
def test_published_sizes(hidden: tuple[int, ...], shape: tuple[int, int, int], outputs: int, weights: int):
    assert count(MLPOptions(hidden=hidden).build(shape, outputs).state_dict()) == weights


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", torch.relu),
        ("elu", nn.functional.elu),
        ("tanh", torch.tanh),
        ("sigmoid", torch.sigmoid),
        ("linear", lambda h: h),
    ],
)
def test_equals_matrix_products(activation, function):
    net = MLPOptions(hidden=(5, 4), activation=activation).build((2, 3, 3), 3)
    x = torch.randn(7, 2, 3, 3)
    h: Tensor = x.reshape(7, 18)
    for name in ("layer1.linear", "layer2.linear"):
        layer = net.get_submodule(name)
        h = function(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), h @ net.head.weight.T + net.head.bias)


def test_without_bias():
    names = [name for name, _ in MLPOptions(hidden=(5,), bias=False).build(MNIST, 3).named_parameters()]
    assert names == ["layer1.linear.weight", "head.weight"]


def test_dropout_drops_in_training_alone():
    net = MLPOptions(hidden=(1000,), dropout=0.75).build(MNIST, 3)
    x = torch.randn(4, *MNIST)
    kept = net.get_submodule("layer1").eval()(x.flatten(1)) != 0
    dropped = net.get_submodule("layer1").train()(x.flatten(1)) == 0
    assert 0.7 < dropped[kept].float().mean() < 0.8
    net.eval()
    assert torch.equal(net(x), net(x))


def test_xavier_has_its_bound_and_no_bias():
    net = MLPOptions(hidden=(100, 100), init="xavier").build(MNIST, 10)
    for name, fan_in, fan_out in (
        ("layer1.linear", 784, 100),
        ("layer2.linear", 100, 100),
        ("head", 100, 10),
    ):
        layer = net.get_submodule(name)
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert 0.97 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()
    assert MLPOptions(bias=False, init="xavier").build(MNIST, 10).head.bias is None
