"""Residual networks for small images, of the block of He et al. 2016 (arXiv:1512.03385): the CIFAR networks of three layers,
and ResNet-18, slim (the partial-hypernetwork and GEM papers) or wide (the replay papers).
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.checks import check_choice, check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.norms import Norm, NormName, check_norm, check_norm_shape, norm2d
from hypermnesia.nets.options import Shape, check_counts, check_depth, check_shape

ShortcutName = Literal["identity", "projection"]
"""What carries a block's input past it where the shape changes (elsewhere: the input itself).
identity: the input subsampled by the stride, between zero channels; no parameters (He et al., option A).
projection: a convolution 1 x 1 with the stride, and a norm (option B)."""


@dataclass(frozen=True, kw_only=True)
class ResNetOptions:
    """Stem 3 x 3, three layers of n residual blocks with strides 1, 2, 2, average pooling, head.

    The target of the hypernetwork paper is the default; HyperMask's "ResNet-20" is `depth=20, widening=2`.
    """

    depth: int = 32
    """Layers with weights, projections not counted: 6n + 2, such as 20, 32, 44, 56 or 110."""
    widths: tuple[int, int, int, int] = (16, 16, 32, 64)
    """Channels of the stem and, before widening, of the three layers."""
    widening: int = 1
    """Factor on the channels of the three layers; the stem stays as it is."""
    shortcut: ShortcutName = "identity"
    """Shortcuts where the shape changes. identity: subsampled input between zero channels, no parameters.
    projection: a convolution 1 x 1 and a norm."""
    conv_bias: bool = True
    """Whether convolutions have a bias. Published hypernetworks write one, although a norm makes it idle."""
    norm: NormName = "batch"
    """What normalises feature maps: batch (running statistics serve in evaluation), batch-stats (the batch's
    own, always), instance, group or none."""
    norm_groups: int = 4
    """Groups of channels for `norm=group`; must divide the channels of the stem and of every layer."""

    def __post_init__(self) -> None:
        check_depth("resnet", self.depth, per_block=6, extra=2)
        check_counts("net.widths", self.widths, length=4)
        check_count("net.widening", self.widening)
        check_choice("net.shortcut", self.shortcut, get_args(ShortcutName))
        check_norm(self.norm, self.norm_groups, self.widened)
        if self.shortcut == "identity" and list(self.widened) != sorted(self.widened):
            raise HypermnesiaError(
                f"net.widths={self.widths} with net.widening={self.widening}: the channels shrink from one "
                "layer to the next, which net.shortcut=identity cannot do; use net.shortcut=projection"
            )

    @property
    def widened(self) -> tuple[int, int, int, int]:
        """Channels of the stem and the three layers."""
        first, *others = self.widths
        width1, width2, width3 = (width * self.widening for width in others)
        return (first, width1, width2, width3)

    def build(self, shape: Shape, outputs: int) -> "ResNet":
        """A network from images (B, *shape) of any size to logits (B, outputs)."""
        check_shape("resnet", shape, outputs)
        check_norm_shape("resnet", self.norm, self.norm_groups, shape, stride=4, channels=self.widened[-1])
        return ResNet(self, shape, outputs)


class ResNet(nn.Module):
    """Stages: stem, layer1 … layer3, pool, head."""

    stages: ClassVar[tuple[str, ...]] = ("stem", "layer1", "layer2", "layer3", "pool", "head")

    def __init__(self, options: ResNetOptions, shape: Shape, outputs: int) -> None:
        super().__init__()
        blocks = check_depth("resnet", options.depth, per_block=6, extra=2)
        norm = partial(norm2d, options.norm, options.norm_groups)
        width0, width1, width2, width3 = options.widened
        self.stem = stem(shape[0], width0, norm, options.conv_bias)
        self.layer1 = layer(width0, width1, blocks, 1, norm, options.conv_bias, options.shortcut)
        self.layer2 = layer(width1, width2, blocks, 2, norm, options.conv_bias, options.shortcut)
        self.layer3 = layer(width2, width3, blocks, 2, norm, options.conv_bias, options.shortcut)
        self.pool = average_pool()
        self.head = nn.Linear(width3, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


@dataclass(frozen=True, kw_only=True)
class ResNet18Options:
    """Stem 3 x 3 without max-pooling, four layers of two residual blocks, average pooling, head.

    Convolutions have no bias, since the norm after each has an offset; under `norm=none` they have one.
    """

    width: int = 20
    """Channels of the first layer; each later layer has twice as many as the one before. 20 is slim (GEM,
    PHN: 1,094,750 weights with colour images and 10 classes), 64 is wide (DER, HCR: 11,173,962)."""
    norm: NormName = "batch"
    """What normalises feature maps: batch (running statistics serve in evaluation), batch-stats (the batch's
    own, always), instance, group or none."""
    norm_groups: int = 4
    """Groups of channels for `norm=group`; must divide `width`."""
    head_bias: bool = True
    """Whether the classifier has a bias; the network of HCR has none."""

    def __post_init__(self) -> None:
        check_count("net.width", self.width)
        check_norm(self.norm, self.norm_groups, self.widths)

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four layers."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)

    def build(self, shape: Shape, outputs: int) -> "ResNet18":
        """A network from images (B, *shape) of any size to logits (B, outputs)."""
        check_shape("resnet18", shape, outputs)
        check_norm_shape("resnet18", self.norm, self.norm_groups, shape, stride=8, channels=self.widths[-1])
        return ResNet18(self, shape, outputs)


class ResNet18(nn.Module):
    """Stages: stem, layer1 … layer4, pool, head."""

    stages: ClassVar[tuple[str, ...]] = ("stem", "layer1", "layer2", "layer3", "layer4", "pool", "head")

    def __init__(self, options: ResNet18Options, shape: Shape, outputs: int) -> None:
        super().__init__()
        norm = partial(norm2d, options.norm, options.norm_groups)
        bias = options.norm == "none"
        width1, width2, width3, width4 = options.widths
        self.stem = stem(shape[0], width1, norm, bias)
        self.layer1 = layer(width1, width1, 2, 1, norm, bias, "projection")
        self.layer2 = layer(width1, width2, 2, 2, norm, bias, "projection")
        self.layer3 = layer(width2, width3, 2, 2, norm, bias, "projection")
        self.layer4 = layer(width3, width4, 2, 2, norm, bias, "projection")
        self.pool = average_pool()
        self.head = nn.Linear(width4, outputs, options.head_bias)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


class PadShortcut(nn.Module):
    """Maps (B, C, H, W) subsampled by `stride` and put between zero channels, as many before as after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """convolution 3 x 3 – norm – ReLU – convolution 3 x 3 – norm, plus the shortcut, then ReLU."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Norm, bias: bool, shortcut: ShortcutName
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = norm(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, norm, bias, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


def stem(inputs: int, outputs: int, norm: Norm, bias: bool) -> nn.Sequential:
    """Images (B, inputs, H, W) to maps (B, outputs, H, W) by a convolution 3 x 3, a norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(outputs), relu=nn.ReLU()))


def layer(
    inputs: int, outputs: int, blocks: int, stride: int, norm: Norm, bias: bool, shortcut: ShortcutName
) -> nn.Sequential:
    """`blocks` residual blocks; the first one changes the number of channels and takes the stride."""
    first = BasicBlock(inputs, outputs, stride, norm, bias, shortcut)
    return nn.Sequential(
        first, *(BasicBlock(outputs, outputs, 1, norm, bias, shortcut) for _ in range(blocks - 1))
    )


def average_pool() -> nn.Sequential:
    """Maps (B, C, H, W) to their means over all pixels (B, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _shortcut(
    inputs: int, outputs: int, stride: int, norm: Norm, bias: bool, name: ShortcutName
) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if name == "identity":
        return PadShortcut(inputs, outputs, stride)
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=bias)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(outputs)))
