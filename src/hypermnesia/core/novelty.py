"""Whether a sample is like anything that was learned: its cosine to each class mean, against the class's own samples'."""

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 400
"""Of cosines from −1 to 1."""


def counted(spread: Tensor, h: Tensor, y: Tensor, means: Tensor) -> Tensor:
    """`spread` (C, BINS + 1) int64 with samples h (N, d) of classes y (N,) counted; `means`: (d, C) class means."""
    cosines = (F.normalize(h, dim=1) * F.normalize(means, dim=0).T[y]).sum(1)
    return spread.index_put((y, _bins(cosines)), torch.ones_like(y), accumulate=True)


def strange(spread: Tensor, h: Tensor, means: Tensor, share: float) -> Tensor:
    """(B,) bool: samples h (B, d) that lie farther from every class mean than all but `share` of the class's own samples."""
    below = spread.cumsum(1) <= share * spread.sum(1, keepdim=True)  # (C, bins): bins with at most that share
    least = below.sum(
        1
    )  # the first bin of each class that counts as near; beyond the last for a class without samples
    near = _bins(F.normalize(h, dim=1) @ F.normalize(means, dim=0)) >= least
    return ~near.any(1)


def _bins(cosines: Tensor) -> Tensor:
    return ((cosines.clamp(-1, 1) + 1) * (BINS / 2)).floor().long()
