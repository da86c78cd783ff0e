"""A run stops at the first number that is not finite, with an error that says which and when."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hypermnesia.errors import RunFailed

ADVICE = "A smaller optimizer.lr or train.clip=1 often helps"


def check_loss(loss: Tensor, terms: Mapping[str, Tensor], when: str) -> None:
    """Raise `RunFailed` unless the loss, a scalar, is finite; the text names its terms."""
    value = float(loss)
    if not math.isfinite(value):
        listed = ", ".join(f"{name}={float(term):.4g}" for name, term in terms.items()) or "none"
        raise RunFailed(f"the loss became {value} at {when}; its terms: {listed}. {ADVICE}")


def check_tensors(what: str, found: Mapping[str, Tensor], when: str) -> None:
    """Raise `RunFailed` unless all numbers are finite; the text says which tensor has others."""
    for name, value in found.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RunFailed(f"the {what} of {name} is not finite at {when}. {ADVICE}")
