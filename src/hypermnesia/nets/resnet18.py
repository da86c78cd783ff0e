"""ResNet-18 for small images, slim (the partial-hypernetwork and GEM papers) or wide (the replay papers)."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from hypermnesia.checks import check_count
from hypermnesia.nets.norms import NormName, check_norm, check_norm_shape, norm2d
from hypermnesia.nets.options import Shape, check_shape
from hypermnesia.nets.residual import average_pool, layer, stem


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
