"""The residual block of He et al. 2016 (arXiv:1512.03385), of which ResNet-18 and CIFAR ResNets are made."""

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.nets.norms import Norm

ShortcutName = Literal["identity", "projection"]
"""What carries a block's input past it where the shape changes (elsewhere: the input itself).
identity: the input subsampled by the stride, between zero channels; no parameters (He et al., option A).
projection: a convolution 1 x 1 with the stride, and a norm (option B)."""


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
