import pytest
import torch
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import NetOptions, ResNet18Options, ResNetOptions, stages
from hypermnesia.nets.resnet import BasicBlock, PadShortcut

COLOUR = (3, 32, 32)


def parameters(options: NetOptions, outputs: int) -> dict[str, int]:
    with torch.device("meta"):
        net = options.build(COLOUR, outputs)
    return {name: value.numel() for name, value in net.named_parameters()}


@pytest.mark.parametrize(
    ("options", "outputs", "weights"),
    [
        (ResNetOptions(norm="none"), 10, 463_018),
        (ResNetOptions(depth=20, widening=2), 5, 1_069_605),
        (ResNetOptions(depth=20, widening=2), 10, 1_067_530 + 2_720),  # HyperMask counts no norms
        (ResNetOptions(depth=20, widening=2), 20, 1_071_540),
        (ResNet18Options(), 5, 1_093_945),
        (ResNet18Options(), 10, 1_094_750),
        (ResNet18Options(), 100, 1_109_240),
        (ResNet18Options(width=64), 10, 11_173_962),
        (ResNet18Options(width=64, head_bias=False), 10, 11_173_952),
    ],
    ids=str,
)
def test_published_sizes(options: NetOptions, outputs: int, weights: int):
    assert sum(parameters(options, outputs).values()) == weights


def test_norms_of_the_published_resnet20():
    sizes = parameters(ResNetOptions(depth=20, widening=2), 5)
    norms = [size for name, size in sizes.items() if ".norm" in name]
    assert (len(norms), sum(norms)) == (38, 2_720)


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


def test_sizes_of_the_bodies_that_partial_hypernetworks_freeze():
    sizes = parameters(ResNet18Options(), 5)
    body, of_cut = 0, {}
    for stage in ("stem", "layer1", "layer2", "layer3", "layer4"):
        body += sum(size for name, size in sizes.items() if name.startswith(f"{stage}."))
        of_cut[stage] = body
    assert of_cut == {"stem": 580, "layer1": 15_140, "layer2": 66_740, "layer3": 272_340, "layer4": 1_093_140}
    assert len(sizes) == 62  # tensors that HN-F generates: 20 convolutions, 20 norms, 1 classifier


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ResNetOptions(depth=8, widths=(2, 3, 4, 5), widening=2),
            [(2, 32, 32), (6, 32, 32), (8, 16, 16), (10, 8, 8), (10,), (7,)],
        ),
        (
            ResNet18Options(width=4),
            [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4), (32,), (7,)],
        ),
    ],
    ids=["resnet", "resnet18"],
)
def test_maps_of_the_stages(options: NetOptions, expected: list[tuple[int, ...]]):
    net = options.build(COLOUR, 7)
    x, shapes = torch.zeros(2, *COLOUR), []
    for stage in stages(net):
        x = net.get_submodule(stage)(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == expected
    assert stages(net)[0] == "stem" and stages(net)[-2:] == ("pool", "head")


def test_convolutions_carry_the_bias_where_no_norm_does():
    with_norm, without = parameters(ResNet18Options(), 5), parameters(ResNet18Options(norm="none"), 5)
    assert not any("conv" in name and name.endswith("bias") for name in with_norm)
    assert sum("conv" in name and name.endswith("bias") for name in without) == 20
    assert not any("norm" in name for name in without)


def test_norms_of_single_numbers_are_refused():
    for options in (ResNet18Options(norm="instance"), ResNet18Options(width=4, norm="group", norm_groups=4)):
        options.build((1, 8, 9), 2)
    with pytest.raises(
        HypermnesiaError,
        match=r"resnet18 shrinks images of 8 x 8 pixels to one pixel, where net\.norm=instance",
    ):
        ResNet18Options(norm="instance").build((1, 8, 8), 2)


def test_pad_shortcut_equals_its_definition():
    x = torch.randn(2, 4, 5, 6)
    y = PadShortcut(4, 9, 2)(x)
    assert y.shape == (2, 9, 3, 3)
    expected = torch.zeros(2, 9, 3, 3)
    for channel in range(4):
        for row in range(3):
            for column in range(3):
                expected[:, 2 + channel, row, column] = x[:, channel, 2 * row, 2 * column]
    assert torch.equal(y, expected)


def test_shortcuts_only_where_the_shape_changes():
    def shortcut(inputs: int, outputs: int, stride: int, name) -> nn.Module:
        return BasicBlock(inputs, outputs, stride, nn.BatchNorm2d, False, name).shortcut

    assert isinstance(shortcut(4, 4, 1, "projection"), nn.Identity)
    assert isinstance(shortcut(4, 4, 1, "identity"), nn.Identity)
    assert isinstance(shortcut(4, 6, 1, "identity"), PadShortcut)
    assert isinstance(shortcut(4, 4, 2, "identity"), PadShortcut)
    assert [name for name, _ in shortcut(4, 6, 1, "projection").named_parameters()] == [
        "conv.weight",
        "norm.weight",
        "norm.bias",
    ]


def test_a_block_whose_convolutions_write_zero_passes_its_input_on():
    block = BasicBlock(4, 4, 1, nn.BatchNorm2d, True, "identity")
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_projections_may_shrink():
    options = ResNetOptions(depth=8, widths=(16, 16, 8, 32), shortcut="projection")
    assert options.build((1, 8, 8), 2).eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "kwargs", "text"),
    [
        (ResNetOptions, {"depth": 21}, r"net\.depth=21: resnet has 6n \+ 2 layers, such as 20 or 26"),
        (ResNetOptions, {"depth": 2}, r"net\.depth=2: resnet has 6n \+ 2 layers, such as 8 or 14"),
        (
            ResNetOptions,
            {"widths": (16, 16, 8, 32)},
            r"the channels shrink from one layer to the next.*use net\.shortcut=projection",
        ),
        (ResNet18Options, {"norm": "bach"}, r"unknown net\.norm 'bach'; did you mean 'batch'\?"),
        (
            ResNet18Options,
            {"norm": "group", "norm_groups": 3},
            r"net\.norm_groups=3 does not divide the channels of every layer \(20, 40, 80, 160\): "
            r"choose one of 1, 2, 4, 5, 10, 20",
        ),
    ],
)
def test_bad_options(options: type[NetOptions], kwargs: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        options(**kwargs)
