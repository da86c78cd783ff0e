"""A residual bottleneck: adapts feature vectors, and begins by leaving them as they are."""

from collections import OrderedDict
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from hypermnesia.core import exact
from hypermnesia.core.declared import Checked, Count
from hypermnesia.nets.options import Shape, check_flat_shape

SCALE = 12
"""Features are rounded to multiples of 2⁻¹², as classifiers in closed form round them."""
WEIGHT_SCALE = 16


@dataclass(frozen=True, kw_only=True)
class BottleneckOptions(Checked, section="net"):
    """f + U relu(V f) and a linear layer, on features of a frozen network; U starts at 0 (Chen et al. 2022, arXiv:2205.13535,
    whose adapters RanPAC trains)."""

    takes = ("images", "vectors")

    width: Count = 64
    """Numbers in the bottleneck, at least 1."""

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from vectors (B, F) or images (B, C, H, W) to logits (B, outputs). Stages: flatten, adapter, head."""
        check_flat_shape("bottleneck", shape, outputs)
        size = prod(shape)
        return nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(), adapter=Bottleneck(size, self.width), head=nn.Linear(size, outputs)
            )
        )


class Bottleneck(nn.Module):
    """x (B, F) → x + U relu(V x).

    Without gradients it computes in whole numbers: x as multiples of 2⁻¹² of at most 2⁸, U and V of 2⁻¹⁶ and at most 2⁴. What
    it makes of a sample then does not depend, in the last bits either, on what lies beside it in a batch.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width, bias=False), nn.Linear(width, size, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return x + self.up(self.down(x).relu())
        q = exact.quantised(x, SCALE)
        added = _whole(_whole(q, self.down.weight, 0), self.up.weight, -exact.MOST)
        return ((q + added).clamp(-exact.MOST, exact.MOST) * 2.0**-SCALE).to(x.dtype)


def _whole(q: Tensor, weight: Tensor, least: int) -> Tensor:
    return exact.projected(q, exact.quantised(weight, WEIGHT_SCALE).mT, WEIGHT_SCALE, least)
