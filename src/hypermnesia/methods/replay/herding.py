"""Which samples of a class stand for it best."""

import torch
from torch import Tensor


def herding(features: Tensor, count: int) -> Tensor:
    """(count,) different rows of `features` (n, d), count ≤ n, picked greedily (iCaRL, algorithm 4).

    Each pick is the one that brings the mean of the picks so far closest to the mean of all rows.
    """
    mean = features.mean(0)
    squares = features.square().sum(1)
    total = torch.zeros_like(mean)
    picks = torch.zeros(count, dtype=torch.int64, device=features.device)
    for k in range(count):
        # |total + f − (k+1)·mean|² without what is the same for every candidate f
        pick = (squares + 2 * (features @ (total - (k + 1) * mean))).argmin().view(1)
        picks[k] = pick[0]
        total += features.index_select(0, pick)[0]
        squares = squares.index_fill(0, pick, torch.inf)
    return picks
