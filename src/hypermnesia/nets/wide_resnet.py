"""Wide residual networks WRN-(6n + 4)-k (Zagoruyko & Komodakis 2016, arXiv:1605.07146)."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.declared import Count, Probability
from hypermnesia.nets.norms import Norm, NormedOptions, check_norm, check_norm_shape, norm2d
from hypermnesia.nets.options import Shape, check_depth, check_shape
from hypermnesia.nets.resnet import average_pool

_STEM = 16


@dataclass(frozen=True, kw_only=True)
class WideResNetOptions(NormedOptions):
    """Stem of 16 channels, three layers of n blocks with 16k, 32k, 64k channels, norm, average pooling, head.

    Convolutions have no bias, since a norm follows each sooner or later; under `norm=none` they have one.
    """

    depth: Count = 28
    """Convolutions, those past the blocks included: 6n + 4, such as 16, 22, 28 or 40."""
    widening: Count = 10
    """The factor k on the channels of the three layers. WRN-28-10 has 36,479,194 weights with 10 classes."""
    dropout: Probability = 0.0
    """Probability of dropping a number between a block's convolutions, from 0 to below 1 (paper: 0.3)."""
    head_bias: bool = True
    """Whether the classifier has a bias."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_depth("wide-resnet", self.depth, per_block=6, extra=4)
        check_norm(self.norm, self.norm_groups, (_STEM, *self.widths))

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of the three layers."""
        return (16 * self.widening, 32 * self.widening, 64 * self.widening)

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape) of any size to logits (B, outputs).

        Stages: stem (a convolution alone), layer1 … layer3, norm (norm, ReLU), pool, head.
        """
        check_shape("wide-resnet", shape, outputs)
        check_norm_shape(
            "wide-resnet", self.norm, self.norm_groups, shape, stride=4, channels=self.widths[-1]
        )
        blocks = check_depth("wide-resnet", self.depth, per_block=6, extra=4)
        norm = partial(norm2d, self.norm, self.norm_groups)
        bias = self.norm == "none"
        width1, width2, width3 = self.widths
        return nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(shape[0], _STEM, 3, padding=1, bias=bias),
                layer1=_layer(_STEM, width1, blocks, 1, norm, bias, self.dropout),
                layer2=_layer(width1, width2, blocks, 2, norm, bias, self.dropout),
                layer3=_layer(width2, width3, blocks, 2, norm, bias, self.dropout),
                norm=nn.Sequential(OrderedDict(norm=norm(width3), relu=nn.ReLU())),
                pool=average_pool(),
                head=nn.Linear(width3, outputs, self.head_bias),
            )
        )


class WideBlock(nn.Module):
    """norm – ReLU – convolution – norm – ReLU – dropout – convolution, plus the input.

    Where the shape changes the input goes through a convolution 1 x 1, taken after the first norm and ReLU.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Norm, bias: bool, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.norm2 = norm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        changes = stride != 1 or inputs != outputs
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=bias) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        h = self.dropout(F.relu(self.norm2(self.conv1(active))))
        return self.conv2(h) + (x if self.projection is None else self.projection(active))


def _layer(
    inputs: int, outputs: int, blocks: int, stride: int, norm: Norm, bias: bool, dropout: float
) -> nn.Sequential:
    first = WideBlock(inputs, outputs, stride, norm, bias, dropout)
    return nn.Sequential(
        first, *(WideBlock(outputs, outputs, 1, norm, bias, dropout) for _ in range(blocks - 1))
    )
