import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import ResNet18Options, stages

COLOUR = (3, 32, 32)


def parameters(options: ResNet18Options, outputs: int) -> dict[str, int]:
    with torch.device("meta"):
        net = options.build(COLOUR, outputs)
    return {name: value.numel() for name, value in net.named_parameters()}


@pytest.mark.parametrize(
    ("width", "outputs", "head_bias", "weights"),
    [
        (20, 5, True, 1_093_945),
        (20, 10, True, 1_094_750),
        (20, 100, True, 1_109_240),
        (64, 10, True, 11_173_962),
        (64, 10, False, 11_173_952),
    ],
)
def test_published_sizes(width: int, outputs: int, head_bias: bool, weights: int):
    assert sum(parameters(ResNet18Options(width=width, head_bias=head_bias), outputs).values()) == weights


def test_sizes_of_the_bodies_that_partial_hypernetworks_freeze():
    sizes = parameters(ResNet18Options(), 5)
    body, of_cut = 0, {}
    for stage in ("stem", "layer1", "layer2", "layer3", "layer4"):
        body += sum(size for name, size in sizes.items() if name.startswith(f"{stage}."))
        of_cut[stage] = body
    assert of_cut == {"stem": 580, "layer1": 15_140, "layer2": 66_740, "layer3": 272_340, "layer4": 1_093_140}
    assert len(sizes) == 62  # tensors that HN-F generates: 20 convolutions, 20 norms, 1 classifier


def test_maps_of_the_stages():
    net = ResNet18Options(width=4).build(COLOUR, 5)
    x, shapes = torch.zeros(2, *COLOUR), {}
    for stage in stages(net):
        x = net.get_submodule(stage)(x)
        shapes[stage] = tuple(x.shape[1:])
    assert shapes == {
        "stem": (4, 32, 32),
        "layer1": (4, 32, 32),
        "layer2": (8, 16, 16),
        "layer3": (16, 8, 8),
        "layer4": (32, 4, 4),
        "pool": (32,),
        "head": (5,),
    }


def test_convolutions_carry_the_bias_where_no_norm_does():
    with_norm, without = parameters(ResNet18Options(), 5), parameters(ResNet18Options(norm="none"), 5)
    assert not any("conv" in name and name.endswith("bias") for name in with_norm)
    assert sum("conv" in name and name.endswith("bias") for name in without) == 20
    assert not any("norm" in name for name in without)


def test_norms_of_single_numbers_are_refused():
    for options in (
        ResNet18Options(norm="instance"),
        ResNet18Options(width=4, norm="group", norm_groups=4),
    ):
        options.build((1, 8, 9), 2)
    with pytest.raises(
        HypermnesiaError,
        match=r"resnet18 shrinks images of 8 x 8 pixels to one pixel, where net\.norm=instance",
    ):
        ResNet18Options(norm="instance").build((1, 8, 8), 2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 0}, r"net\.width=0: expected a whole number, at least 1"),
        ({"norm": "bach"}, r"unknown net\.norm 'bach'; did you mean 'batch'\?"),
        (
            {"norm": "group", "norm_groups": 3},
            r"net\.norm_groups=3 does not divide the channels of every layer \(20, 40, 80, 160\): "
            r"choose one of 1, 2, 4, 5, 10, 20",
        ),
    ],
)
def test_bad_options(options: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        ResNet18Options(**options)
