"""Covariance matrices from few samples: brought away from the singular, and to one scale."""

import torch
from torch import Tensor


def shrunk(s: Tensor, times: int) -> Tensor:
    """`s` (d, d), `times` over plus its mean variance on the diagonal and its mean covariance beside it.

    Covariances that are exactly 0 do not count in that mean.
    """
    identity = torch.eye(len(s), dtype=s.dtype, device=s.device)
    for _ in range(times):
        beside = s * (1 - identity)
        mean = beside.sum() / beside.count_nonzero().clamp_min(1)
        s = s + s.diagonal().mean() * identity + mean * (1 - identity)
    return s


def normalised(s: Tensor) -> Tensor:
    """`s` (d, d) as correlations s_ij / √(s_ii s_jj); a feature that never varies has none with others."""
    scale = s.diagonal().clamp_min(torch.finfo(s.dtype).tiny).sqrt()
    return (s / scale / scale[:, None]).fill_diagonal_(1)
