import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import ResNetOptions, stages

HYPERMASK = ResNetOptions(depth=20, widening=2)


def parameters(options: ResNetOptions, outputs: int) -> dict[str, int]:
    with torch.device("meta"):
        net = options.build((3, 32, 32), outputs)
    return {name: value.numel() for name, value in net.named_parameters()}


@pytest.mark.parametrize(
    ("outputs", "masked"), [(5, 1_069_605 - 2_720), (10, 1_067_530), (20, 1_071_540 - 2_720)]
)
def test_sizes_published_for_hypermask(outputs: int, masked: int):
    sizes = parameters(HYPERMASK, outputs)
    norms = {name: size for name, size in sizes.items() if ".norm" in name}
    assert (len(norms), sum(norms.values())) == (38, 2_720)
    assert sum(sizes.values()) - 2_720 == masked


def test_size_of_the_published_resnet32_without_norm():
    assert sum(parameters(ResNetOptions(norm="none"), 10).values()) == 463_018


def test_depth_counts_the_layers_with_weights():
    for depth in (8, 20, 32):
        names = [
            name
            for name in parameters(ResNetOptions(depth=depth, norm="none"), 10)
            if name.endswith("weight")
        ]
        assert len(names) == depth


def test_projections_add_one_convolution_and_norm_where_the_shape_changes():
    added = (
        parameters(ResNetOptions(depth=8, shortcut="projection", conv_bias=False), 2).keys()
        - parameters(ResNetOptions(depth=8, conv_bias=False), 2).keys()
    )
    assert added == {
        f"{layer}.0.shortcut.{name}"
        for layer in ("layer2", "layer3")
        for name in ("conv.weight", "norm.weight", "norm.bias")
    }


def test_maps_of_the_stages():
    net = ResNetOptions(depth=8, widths=(2, 3, 4, 5), widening=2).build((3, 32, 32), 7)
    x, shapes = torch.zeros(2, 3, 32, 32), {}
    for stage in stages(net):
        x = net.get_submodule(stage)(x)
        shapes[stage] = tuple(x.shape[1:])
    assert shapes == {
        "stem": (2, 32, 32),
        "layer1": (6, 32, 32),
        "layer2": (8, 16, 16),
        "layer3": (10, 8, 8),
        "pool": (10,),
        "head": (7,),
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"depth": 21}, r"net\.depth=21: resnet has 6n \+ 2 layers, such as 20 or 26"),
        ({"depth": 2}, r"net\.depth=2: resnet has 6n \+ 2 layers, such as 8 or 14"),
        ({"widths": (16, 32, 64)}, r"net\.widths=\(16, 32, 64\): expected a tuple of 4 whole numbers"),
        ({"widening": 0}, r"net\.widening=0: expected a whole number"),
        ({"shortcut": "pad"}, r"unknown net\.shortcut 'pad'.* known: identity, projection"),
        (
            {"widths": (16, 16, 8, 32)},
            r"the channels shrink from one layer to the next.*use net\.shortcut=projection",
        ),
    ],
)
def test_bad_options(options: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        ResNetOptions(**options)


def test_projections_may_shrink():
    options = ResNetOptions(depth=8, widths=(16, 16, 8, 32), shortcut="projection")
    assert options.build((1, 8, 8), 2).eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 2)
