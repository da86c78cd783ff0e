"""What EWC, MAS and SI have in common: the quadratic pull towards old values, with its gradient written out, and which samples
an importance is summed over, how many at once.

Autograd would pass every parameter's numbers nine times, more than half of them on the way back; by hand it is four.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.tensors import Tensors

_SCALARS = 2**24
"""Of gradients of single samples that are held at once on a CPU: 64 MiB."""


def samples_at_once(params: Tensors) -> int:
    """1..256: of so many samples the gradients fill 64 MiB, or a sixteenth of a GPU's memory."""
    first = next(iter(params.values()))
    total = torch.cuda.get_device_properties(first.device).total_memory if first.is_cuda else 0
    return max(1, min(256, (total // 64 or _SCALARS) // tensors.count(params)))


def some_of(count: int, samples: int | None, rng: torch.Generator) -> Tensor:
    """Positions of all `count` samples of a task in order, or of `samples` that are drawn from more."""
    if samples is None or samples >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=rng)[:samples]


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


def _thirds(given: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    count = len(given) // 3
    return given[:count], given[count : 2 * count], given[2 * count :]
