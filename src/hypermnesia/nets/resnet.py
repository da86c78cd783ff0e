"""Residual networks for small images, of the block of He et al. 2016 (arXiv:1512.03385): the CIFAR networks of three layers,
and ResNet-18, slim (the partial-hypernetwork and GEM papers) or wide (the replay papers).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.declared import Count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.norms import Norm, NormedOptions, check_norm, check_norm_shape, norm2d
from hypermnesia.nets.options import Shape, check_depth, check_shape

ShortcutName = Literal["identity", "projection"]
"""What carries a block's input past it where the shape changes (elsewhere: the input itself).
identity: the input subsampled by the stride, between zero channels; no parameters (He et al., option A).
projection: a convolution 1 x 1 with the stride, and a norm (option B)."""


@dataclass(frozen=True, kw_only=True)
class ResNetOptions(NormedOptions):
    """Stem 3 x 3, three layers of n residual blocks with strides 1, 2, 2, average pooling, head.

    The target of the hypernetwork paper is the default; HyperMask's "ResNet-20" is `depth=20, widening=2`.
    """

    depth: Count = 32
    """Layers with weights, projections not counted: 6n + 2, such as 20, 32, 44, 56 or 110."""
    widths: tuple[Count, Count, Count, Count] = (16, 16, 32, 64)
    """Channels of the stem and, before widening, of the three layers."""
    widening: Count = 1
    """Factor on the channels of the three layers; the stem stays as it is."""
    shortcut: ShortcutName = "identity"
    """Shortcuts where the shape changes. identity: subsampled input between zero channels, no parameters.
    projection: a convolution 1 x 1 and a norm."""
    conv_bias: bool = True
    """Whether convolutions have a bias. Published hypernetworks write one, although a norm makes it idle."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_depth("resnet", self.depth, per_block=6, extra=2)
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

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape) of any size to logits (B, outputs).

        Stages: stem, layer1 … layer3, pool, head.
        """
        check_shape("resnet", shape, outputs)
        check_norm_shape("resnet", self.norm, self.norm_groups, shape, stride=4, channels=self.widened[-1])
        blocks = check_depth("resnet", self.depth, per_block=6, extra=2)
        norm = partial(norm2d, self.norm, self.norm_groups)
        body = _body(shape[0], self.widened, blocks, norm, self.conv_bias, self.shortcut)
        return nn.Sequential(body | OrderedDict(head=nn.Linear(self.widened[-1], outputs)))


@dataclass(frozen=True, kw_only=True)
class ResNet18Options(NormedOptions):
    """Stem 3 x 3 without max-pooling, four layers of two residual blocks, average pooling, head.

    Convolutions have no bias, since the norm after each has an offset; under `norm=none` they have one.
    """

    width: Count = 20
    """Channels of the first layer; each later layer has twice as many as the one before. 20 is slim (GEM,
    PHN: 1,094,750 weights with colour images and 10 classes), 64 is wide (DER, HCR: 11,173,962)."""
    head_bias: bool = True
    """Whether the classifier has a bias; the network of HCR has none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_norm(self.norm, self.norm_groups, self.widths)

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four layers."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape) of any size to logits (B, outputs).

        Stages: stem, layer1 … layer4, pool, head.
        """
        check_shape("resnet18", shape, outputs)
        check_norm_shape("resnet18", self.norm, self.norm_groups, shape, stride=8, channels=self.widths[-1])
        norm = partial(norm2d, self.norm, self.norm_groups)
        body = _body(shape[0], (self.width, *self.widths), 2, norm, self.norm == "none", "projection")
        return nn.Sequential(body | OrderedDict(head=nn.Linear(self.widths[-1], outputs, self.head_bias)))


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


def _body(
    inputs: int, widths: Sequence[int], blocks: int, norm: Norm, bias: bool, shortcut: ShortcutName
) -> OrderedDict[str, nn.Module]:
    """Images (B, inputs, H, W) to features (B, widths[-1]): stem, layer1 … layerN, pool.

    `widths` are the channels of the stem, whose convolution 3 x 3 keeps the size, and of the layers, each of
    which but the first halves it.
    """
    conv = nn.Conv2d(inputs, widths[0], 3, padding=1, bias=bias)
    stem = nn.Sequential(OrderedDict(conv=conv, norm=norm(widths[0]), relu=nn.ReLU()))
    parts = OrderedDict[str, nn.Module](stem=stem)
    for i in range(1, len(widths)):
        stride = 1 if i == 1 else 2
        parts[f"layer{i}"] = _layer(widths[i - 1], widths[i], blocks, stride, norm, bias, shortcut)
    parts["pool"] = average_pool()
    return parts


def _layer(
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
