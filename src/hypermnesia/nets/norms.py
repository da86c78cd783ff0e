"""Normalisation of feature maps, as one choice that every convolutional network offers; norm layers in any network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

from torch import nn

from hypermnesia.core.declared import Checked, Count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.options import Shape

NormName = Literal["batch", "batch-stats", "instance", "group", "none"]
"""batch: batch norm, whose running statistics serve in evaluation.
batch-stats: batch norm that always uses the statistics of the batch at hand: logits depend on their batch.
instance: each sample and channel by itself. group: each sample by groups of channels. none: no normalisation.
All but `none` have a trainable scale and offset per channel, which start at 1 and 0."""


@dataclass(frozen=True, kw_only=True)
class NormedOptions(Checked, section="net"):
    """Options of a network with one such choice for all its convolutions."""

    norm: NormName = "batch"
    """What normalises feature maps: batch (running statistics serve in evaluation), batch-stats (the batch's
    own, always), instance, group or none."""
    norm_groups: Count = 4
    """Groups of channels for `norm=group`; must divide the channels of every layer."""


LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""The normalisation layers of torch that have a scale, or a scale and an offset."""
Norm = Callable[[int], nn.Module]
"""Number of channels -> a module that keeps the shape (B, channels, H, W)."""


def norm2d(name: NormName, groups: int, channels: int) -> nn.Module:
    """The norm layer called `name` for maps (B, channels, H, W); `groups` matters to `group` alone."""
    match name:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "batch-stats":
            return nn.BatchNorm2d(channels, track_running_stats=False)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "group":
            return nn.GroupNorm(groups, channels)
        case "none":
            return nn.Identity()


def check_norm(name: NormName, groups: int, widths: Sequence[int]) -> None:
    """Raise unless, for the norm `group`, `groups` divides each layer's channels (`widths`)."""
    if name != "group" or all(width % groups == 0 for width in widths):
        return
    common = gcd(*widths)
    channels = ", ".join(str(width) for width in sorted(set(widths)))
    divisors = ", ".join(str(d) for d in range(1, common + 1) if common % d == 0)
    raise HypermnesiaError(
        f"net.norm_groups={groups} does not divide the channels of every layer ({channels}): "
        f"choose one of {divisors}"
    )


def check_norm_shape(net: str, name: NormName, groups: int, shape: Shape, stride: int, channels: int) -> None:
    """Raise if some statistic would be taken over a single number, which normalises everything to 0.

    `stride` and `channels` are the network's total stride and the channels of its last maps, its smallest.
    Batch norms are not judged: their statistics also run over the batch.
    """
    per_group = {"instance": 1, "group": channels // groups}.get(name)
    _, height, width = shape
    pixels = -(-height // stride) * -(-width // stride)
    if per_group is not None and per_group * pixels == 1:
        raise HypermnesiaError(
            f"{net} shrinks images of {height} x {width} pixels to one pixel, where net.norm={name} "
            f"normalises single numbers to 0. Use larger images (over {stride} x {stride}) or net.norm=batch"
        )


def norm_parameters(net: nn.Module) -> list[str]:
    """Names of the scales and offsets of all normalisation layers in `net`, whoever made it."""
    return [
        f"{path}.{key}"
        for path, module in net.named_modules()
        if isinstance(module, LAYERS)
        for key, _ in module.named_parameters(recurse=False)
    ]


def even_groups(width: int) -> int:
    """The largest number of groups up to 8 that divides `width`."""
    return max(groups for groups in range(1, 9) if width % groups == 0)
