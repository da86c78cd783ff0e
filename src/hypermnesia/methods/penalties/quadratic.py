"""The quadratic pull towards old values that EWC, MAS and SI have in common, with its gradient written out.

Autograd would pass every parameter's numbers nine times, more than half of them on the way back; by hand it is four.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def pull(now: Sequence[Tensor], old: Sequence[Tensor], weight: Sequence[Tensor]) -> Tensor:
    """Σ weight ⊙ (now − old)² over all tensors, at least one: a scalar. Only `now` is differentiated."""
    return _Pull.apply(*now, *old, *weight)[0]


class _Pull(torch.autograd.Function):
    """`pull`; its further outputs are weight ⊙ (now − old), half of the gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        now, old, weight = _thirds(inputs)
        apart = [a - b for a, b in zip(now, old, strict=True)]
        weighted = [w * d for w, d in zip(weight, apart, strict=True)]
        parts = [torch.dot(w.flatten(), d.flatten()) for w, d in zip(weighted, apart, strict=True)]
        return torch.stack(parts).sum(), *weighted

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 4
        weighted = ctx.saved_tensors[3 * count :]
        if torch.is_grad_enabled():  # a derivative of this gradient needs to know what it comes from
            now, old, weight = _thirds(ctx.saved_tensors[: 3 * count])
            weighted = [w * (a - b) for a, b, w in zip(now, old, weight, strict=True)]
        twice = 2 * gradients[0]
        return *(twice * w for w in weighted), *(None,) * (2 * count)


def _thirds(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    count = len(tensors) // 3
    return tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
