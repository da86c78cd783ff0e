"""The CIFAR ResNets of 6n + 2 layers (He et al. 2016, arXiv:1512.03385, section 4.2), with widening."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, get_args

from torch import Tensor, nn

from hypermnesia.checks import check_choice, check_count
from hypermnesia.errors import HypermnesiaError
from hypermnesia.nets.norms import NormName, check_norm, check_norm_shape, norm2d
from hypermnesia.nets.options import Shape, check_counts, check_depth, check_shape
from hypermnesia.nets.residual import ShortcutName, average_pool, layer, stem


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
