"""Plain convolutional networks: LeNet in the two sizes of the MNIST experiments of the hypernetwork papers, the network of
Zenke et al. 2017 (Synaptic Intelligence, arXiv:1703.04200) for CIFAR, and the four blocks of the few-shot papers.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn

from hypermnesia.core.declared import Checked, Count, Probability
from hypermnesia.nets.norms import NormedOptions, check_norm, norm2d
from hypermnesia.nets.options import Shape, check_shape

LeNetVariant = Literal["small", "large"]
_LENET_KERNEL = 5
_LENET_SMALLEST = 16
# pixels that leave one after two rounds of a 5 x 5 convolution without padding and a halving


@dataclass(frozen=True, kw_only=True)
class LeNetOptions(Checked, section="net"):
    """LeNet (LeCun et al. 1998): two convolutions 5 x 5 with ReLU and max-pooling, one hidden layer."""

    variant: LeNetVariant = "large"
    """Channels of the convolutions and hidden units. small: 10, 20, 50. large: 20, 50, 500.
    On gray images of 28 x 28 pixels and 10 classes these are 21,840 and 431,080 weights."""

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape), at least 16 x 16 pixels, to logits (B, outputs).

        Stages: conv1, conv2 (convolution, ReLU, pooling), flatten, fc (linear, ReLU), head.
        """
        check_shape("lenet", shape, outputs, smallest=_LENET_SMALLEST)
        channels1, channels2, hidden = {"small": (10, 20, 50), "large": (20, 50, 500)}[self.variant]
        channels, *sides = shape
        height, width = (_side_after_pooled(_side_after_pooled(side)) for side in sides)
        return nn.Sequential(
            OrderedDict(
                conv1=_pooled_convolution(channels, channels1),
                conv2=_pooled_convolution(channels1, channels2),
                flatten=nn.Flatten(),
                fc=nn.Sequential(
                    OrderedDict(linear=nn.Linear(channels2 * height * width, hidden), relu=nn.ReLU())
                ),
                head=nn.Linear(hidden, outputs),
            )
        )


def _pooled_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(inputs, outputs, _LENET_KERNEL), relu=nn.ReLU(), pool=nn.MaxPool2d(2))
    )


def _side_after_pooled(side: int) -> int:
    return (side - _LENET_KERNEL + 1) // 2


ZenkeVariant = Literal["cifar", "tiny"]
_ZENKE_SMALLEST = 10  # pixels that leave one after two rounds of a trimming convolution and a halving


@dataclass(frozen=True, kw_only=True)
class ZenkeNetOptions(Checked, section="net"):
    """Four convolutions 3 x 3 in two pairs, each with max-pooling, and one or two linear layers."""

    variant: ZenkeVariant = "cifar"
    """cifar: channels 32, 32, 64, 64 and a hidden layer of 512 units; 1,250,858 weights on 3 x 32 x 32 images
    and 10 classes. tiny (HyperMask): 64 channels throughout, no hidden layer; 175,301 weights on 3 x 64 x 64
    images and 5 classes."""
    dropout2d: Probability = 0.25
    """Probability of dropping a whole feature map after each pair, at least 0 and below 1."""
    dropout: Probability = 0.5
    """Probability of dropping a unit of the hidden layer (`cifar` alone has one), at least 0 and below 1."""

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape), at least 10 x 10 pixels, to logits (B, outputs).

        Stages: conv1 … conv4, flatten, fc (`cifar` alone), head. The first convolution of a pair pads by one pixel,
        the second does not. Pooling and dropout follow the pair and belong to the stage of its second convolution.
        """
        check_shape("zenkenet", shape, outputs, smallest=_ZENKE_SMALLEST)
        channels, *sides = shape
        early, late, hidden = {"cifar": (32, 64, 512), "tiny": (64, 64, None)}[self.variant]
        height, width = (_side_after_pair(_side_after_pair(side)) for side in sides)
        features = late * height * width
        parts = OrderedDict[str, nn.Module](
            conv1=_convolution(channels, early),
            conv2=_convolution_and_pool(early, early, self.dropout2d),
            conv3=_convolution(early, late),
            conv4=_convolution_and_pool(late, late, self.dropout2d),
            flatten=nn.Flatten(),
        )
        if hidden is not None:
            linear = nn.Linear(features, hidden)
            parts["fc"] = nn.Sequential(
                OrderedDict(linear=linear, relu=nn.ReLU(), dropout=nn.Dropout(self.dropout))
            )
            features = hidden
        parts["head"] = nn.Linear(features, outputs)
        return nn.Sequential(parts)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(inputs, outputs, 3, padding=1), relu=nn.ReLU()))


def _convolution_and_pool(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            dropout=nn.Dropout2d(dropout),
        )
    )


def _side_after_pair(side: int) -> int:
    return (side - 2) // 2


@dataclass(frozen=True, kw_only=True)
class ConvNetOptions(NormedOptions):
    """Blocks of a convolution 3 x 3, a norm, ReLU and 2 x 2 max-pooling (Vinyals et al. 2016, arXiv:1606.04080; Snell et al.
    2017, arXiv:1703.05175)."""

    blocks: Count = 4
    """Blocks, each of which halves the image, at least 1 (published 4)."""
    width: Count = 64
    """Channels of each block (published 64)."""

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape), at least 2^blocks pixels a side, to logits (B, outputs).

        Stages: conv1, conv2 …, flatten, head.
        """
        check_shape("convnet", shape, outputs, smallest=2**self.blocks)
        check_norm(self.norm, self.norm_groups, [self.width])
        channels, height, width = shape
        blocks = {
            f"conv{i + 1}": nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(self.width if i else channels, self.width, 3, padding=1),
                    norm=norm2d(self.norm, self.norm_groups, self.width),
                    relu=nn.ReLU(),
                    pool=nn.MaxPool2d(2),
                )
            )
            for i in range(self.blocks)
        }
        features = self.width * (height >> self.blocks) * (width >> self.blocks)
        return nn.Sequential(
            OrderedDict([*blocks.items(), ("flatten", nn.Flatten()), ("head", nn.Linear(features, outputs))])
        )
