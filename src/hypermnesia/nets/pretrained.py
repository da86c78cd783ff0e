"""Pre-trained networks of timm and transformers as targets that train: their classifier replaced, their input adapted."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from hypermnesia.core.declared import Checked
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.registry import PART
from hypermnesia.nets.backbones import open_backbone
from hypermnesia.nets.options import Shape, check_shape


@dataclass(frozen=True)
class Pretrained(Checked, section="net"):
    """A network with the weights that it was published with: stages `input`, `body`, `head`."""

    reference: str = field(metadata=PART)
    """`pretrained`, `timm:NAME`, `hf:NAME`: see `nets.backbones`."""
    size: Annotated[int, Ge(8), Le(1024)] | None = None
    """Pixels of a side to which images are scaled; none = the network's own."""

    def build(self, shape: Shape, outputs: int) -> nn.Module:
        """The network for images (1 or 3, H, W), a new linear layer in its classifier's place. Raises as `open_backbone`."""
        check_shape(self.reference, shape, outputs)
        if shape[0] not in (1, 3):
            raise HypermnesiaError(
                f"net={self.reference} takes images of 1 or 3 channels, and these have {shape[0]}"
            )
        backbone = open_backbone(self.reference, self.size)
        body = backbone.net.requires_grad_(True)
        with torch.no_grad():
            width = body(torch.zeros(1, 3, backbone.size, backbone.size)).shape[1]
        stages = OrderedDict(
            input=Input(backbone.size, backbone.mean, backbone.std), body=body, head=nn.Linear(width, outputs)
        )
        return nn.Sequential(stages).train()


class Input(nn.Module):
    """Images (B, 1 or 3, H, W) as a stream normalises them → (B, 3, size, size) as a pre-trained network wants them."""

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size, self.mean, self.std = size, tuple(mean), tuple(std)
        self.given: tuple[Sequence[float], Sequence[float]] = (0.0,), (1.0,)
        """Mean and standard deviation that what arrives was normalised with."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std, had_mean, had_std = (
            torch.tensor(values, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
            for values in (self.mean, self.std, *self.given)
        )
        x = x * had_std + had_mean
        x = x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return (x - mean) / std
