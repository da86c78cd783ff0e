from typing import get_args

import pytest
import torch

from hypermnesia.nets import NetOptions, ResNet18Options, ResNetOptions, WideResNetOptions
from hypermnesia.nets.norms import NormName, norm2d

NORMS = get_args(NormName)


def normalised(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()


def test_each_norm_equals_its_formula():
    x = 3 * torch.randn(5, 6, 4, 4) + 2
    grouped = x.reshape(5, 2, 3, 4, 4)
    expected = {
        "batch": normalised(x, (0, 2, 3)),
        "batch-stats": normalised(x, (0, 2, 3)),
        "instance": normalised(x, (2, 3)),
        "group": normalised(grouped, (2, 3, 4)).reshape_as(x),
        "none": x,
    }
    assert set(expected) == set(NORMS)
    for name, value in expected.items():
        torch.testing.assert_close(norm2d(name, 2, 6).train()(x), value)


@pytest.mark.parametrize("name", NORMS)
def test_only_batch_stats_depends_on_the_batch_in_evaluation(name: NormName):
    norm = norm2d(name, 2, 6).eval()
    x = torch.randn(5, 6, 4, 4)
    independent = torch.allclose(norm(x)[:1], norm(x[:1]), atol=1e-6)
    assert independent == (name != "batch-stats")


def test_running_statistics_of_batch_norm_alone():
    assert [name for name in NORMS if list(norm2d(name, 2, 6).buffers())] == ["batch"]


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(
    "options", [ResNet18Options, ResNetOptions, WideResNetOptions], ids=["resnet18", "resnet", "wide-resnet"]
)
def test_every_residual_net_takes_every_norm(options: type[NetOptions], name: NormName):
    small = {"width": 4} if options is ResNet18Options else {"depth": 10, "widening": 1}
    if options is ResNetOptions:
        small["depth"] = 8
    net = options(**small, norm=name).build((1, 16, 16), 3)
    layers = {
        type(module) for path, module in net.named_modules() if path.rpartition(".")[2].startswith("norm")
    }
    assert type(norm2d(name, 4, 16)) in layers
    assert net(torch.randn(2, 1, 16, 16)).shape == (2, 3)
