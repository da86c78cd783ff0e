"""How far outputs are from what they should be: the one place that knows classes from numbers, by the dtype of targets."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Distance = Callable[..., Tensor]
"""(outputs (B, n), targets (B,), reduction="mean") → a scalar, or (B,) with reduction="none"."""


def fitting(target: Tensor) -> tuple[str, Distance]:
    """What a method minimises over these targets, with its name: the cross-entropy of positions, int64 (B,), or the squared
    error of the one output from numbers, float32 (B,)."""
    return (
        ("squared_error", _squared_error)
        if target.is_floating_point()
        else ("cross_entropy", F.cross_entropy)
    )


def _squared_error(outputs: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return F.mse_loss(outputs[:, 0], target, reduction=reduction)


def likelihood(target: Tensor) -> Distance:
    """The negative logarithm of the likelihood, up to a constant: of numbers with noise of variance 1, half the squared
    error."""
    if target.is_floating_point():
        return lambda outputs, own: _squared_error(outputs, own) / 2
    return F.cross_entropy
