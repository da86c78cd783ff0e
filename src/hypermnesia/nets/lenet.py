"""LeNet in the two sizes that the MNIST experiments of the hypernetwork papers use."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from hypermnesia.checks import check_choice
from hypermnesia.nets.options import Shape, check_shape

LeNetVariant = Literal["small", "large"]
_LENET_KERNEL = 5
_LENET_SMALLEST = 16  # pixels that leave one after two rounds of a 5 x 5 convolution without padding and a halving


@dataclass(frozen=True, kw_only=True)
class LeNetOptions:
    """LeNet (LeCun et al. 1998): two convolutions 5 x 5 with ReLU and max-pooling, one hidden layer."""

    variant: LeNetVariant = "large"
    """Channels of the convolutions and hidden units. small: 10, 20, 50. large: 20, 50, 500.
    On gray images of 28 x 28 pixels and 10 classes these are 21,840 and 431,080 weights."""

    def __post_init__(self) -> None:
        check_choice("net.variant", self.variant, get_args(LeNetVariant))

    def build(self, shape: Shape, outputs: int) -> "LeNet":
        """A network from images (B, *shape), at least 16 x 16 pixels, to logits (B, outputs)."""
        check_shape("lenet", shape, outputs, smallest=_LENET_SMALLEST)
        return LeNet(self, shape, outputs)


class LeNet(nn.Module):
    """Stages: conv1, conv2 (convolution, ReLU, pooling), flatten, fc (linear, ReLU), head."""

    stages: ClassVar[tuple[str, ...]] = ("conv1", "conv2", "flatten", "fc", "head")

    def __init__(self, options: LeNetOptions, shape: Shape, outputs: int) -> None:
        super().__init__()
        channels1, channels2, hidden = {"small": (10, 20, 50), "large": (20, 50, 500)}[options.variant]
        channels, height, width = shape
        self.conv1 = _pooled_convolution(channels, channels1)
        self.conv2 = _pooled_convolution(channels1, channels2)
        self.flatten = nn.Flatten()
        features = channels2 * _side_after_pooled(_side_after_pooled(height)) * _side_after_pooled(_side_after_pooled(width))
        self.fc = nn.Sequential(OrderedDict(linear=nn.Linear(features, hidden), relu=nn.ReLU()))
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


def _pooled_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(inputs, outputs, _LENET_KERNEL), relu=nn.ReLU(), pool=nn.MaxPool2d(2))
    )


def _side_after_pooled(side: int) -> int:
    return (side - _LENET_KERNEL + 1) // 2
