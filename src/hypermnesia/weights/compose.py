"""How written values meet the target's own weights: semi-binary masks (HyperMask) and additions."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from hypermnesia.core.declared import Checked, Positive
from hypermnesia.core.tensors import Tensors, map_tensors

Activation = Literal["tanh", "sigmoid"]
"""tanh: |tanh h|, in [0, 1). sigmoid: 1 / (1 + exp(−h)), in (0, 1)."""
Scope = Literal["tensor", "row", "global"]
"""Among which entries a threshold ranks: those of a tensor, of one output unit, or of all masked tensors."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions(Checked, section="mask"):
    """How a mask is made of what the generator writes (Książek & Spurek 2023, arXiv:2310.00113)."""

    activation: Activation = "tanh"
    """tanh (published) or sigmoid. A mask lies in 0..1: it shrinks weights and never flips or enlarges one.
    The generator's `mask_bias` sets where masks start."""
    sparsity: Annotated[float, Ge(0), Le(100)] = 0.0
    """Percentile below which entries become 0, in percent, 0..100; 0 in six of eight published settings."""
    scope: Scope = "tensor"
    """tensor (published): each tensor has its own threshold. row: each slice of a tensor's first axis has, and
    a vector's slices hold one entry each, so vectors stay whole. global: one for all tensors of a task."""
    ramp: bool = True
    """Whether the sparsity rises linearly from 0 over the first task (published) or is there from the start."""


@dataclass(frozen=True)
class SemiBinaryMask:
    """w = θ ⊙ m with m = a where a reaches its threshold and 0 elsewhere, a = |tanh h|.

    *Semi-binary*: an entry that survives keeps its value. Gradients flow through the survivors alone, and the
    threshold is a constant to them (no straight-through estimate). Which tensors are masked at all is said by
    the model's roles: HyperMask leaves the last bias and the norm layers out.
    """

    options: MaskOptions = MaskOptions()

    def __call__(self, written: Tensors, base: Tensors, ramp: float) -> Tensors:
        """`written` (T, *shape) by name, `base` (*shape) by name → weights θ ⊙ m (T, *shape)."""
        return map_tensors(torch.mul, self.mask(written, ramp), base)

    def mask(self, written: Tensors, ramp: float = 1.0) -> Tensors:
        """The masks m in 0..1, (T, *shape) by name, each task thresholded by itself.

        `ramp` in 0..1 multiplies the sparsity, unless the options switch that off.
        """
        options = self.options
        strength = {name: self._activated(h) for name, h in written.items()}
        sparsity = options.sparsity * ramp if options.ramp else options.sparsity
        if sparsity == 0:  # the 0th percentile keeps everything
            return strength
        least = self._thresholds({name: a.detach() for name, a in strength.items()}, sparsity)
        return {name: torch.where(a.detach() >= least[name], a, 0.0) for name, a in strength.items()}

    def _activated(self, h: Tensor) -> Tensor:
        return h.tanh().abs() if self.options.activation == "tanh" else h.sigmoid()

    def _thresholds(self, strength: Tensors, sparsity: float) -> Tensors:
        """The least value that is kept, shaped to broadcast against each (T, *shape)."""
        if self.options.scope == "global":
            common = least_kept(torch.cat([a.flatten(1) for a in strength.values()], 1), sparsity)  # (T,)
            return {name: _for(a, common) for name, a in strength.items()}
        ranked_from = 1 if self.options.scope == "tensor" else 2
        return {name: _for(a, least_kept(_ranked(a, ranked_from), sparsity)) for name, a in strength.items()}


@dataclass(frozen=True)
class Add(Checked, section="add"):
    """w = w₀ + scale · h: a written change of weights that stay as they are (role `added`).

    A low-rank change (Hu et al. 2021, arXiv:2106.09685) arrives here multiplied out; `scale` is its α / rank.
    """

    scale: Positive = 1.0

    def __call__(self, written: Tensors, base: Tensors, ramp: float) -> Tensors:
        """`written` (T, *shape) and `base` (*shape) by name → weights (T, *shape); `ramp` plays no part."""
        return map_tensors(lambda h, w: w + self.scale * h, written, base)


def least_kept(values: Tensor, percent: float) -> Tensor:
    """The smallest of `values` (…, n) that reaches their percentile, (…).

    The q-th percentile is interpolated linearly at position q(n − 1)/100 of the sorted values, as
    `torch.quantile` does. No value lies strictly between that point and its upper neighbour, so "≥ the
    percentile" and "≥ its upper neighbour" choose the same entries, ties included: one selection in linear
    time instead of a sort.
    """
    size = values.shape[-1]
    # A position that rounding has put a hair above a whole number is that number.
    upper = math.ceil(percent / 100 * (size - 1) * (1 - 1e-12))
    if values.device.type == "cuda":  # kthvalue counts as non-deterministic there before torch 2.10
        return values.sort(-1).values[..., upper]
    return values.kthvalue(upper + 1, -1).values


def _ranked(a: Tensor, axis: int) -> Tensor:
    """Axes from `axis` on flattened into one; an entry by itself where there are none."""
    return a.flatten(axis) if a.dim() > axis else a.unsqueeze(-1)


def _for(a: Tensor, threshold: Tensor) -> Tensor:
    return threshold.reshape(threshold.shape + (1,) * (a.dim() - threshold.dim()))
