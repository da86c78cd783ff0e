"""The pull towards old values: value, gradients and what `vmap` makes of them, beside the formula itself."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from hypermnesia.core.rng import generator
from hypermnesia.methods.penalties.quadratic import pull, samples_at_once

SHAPES = ((3, 4), (4,), (), (2, 1, 3, 3))


def drawn(count: int | None = None) -> list[list[Tensor]]:
    """Values, old values and weights in double precision; with `count`, so many of each along a first axis."""
    rng, first = generator(0, "pull"), () if count is None else (count,)
    sizes = [(*first, *shape) for shape in SHAPES]
    found = [[torch.randn(size, generator=rng, dtype=torch.float64) for size in sizes] for _ in range(3)]
    return [*found[:2], [w.abs() for w in found[2]]]


def plain(now: list[Tensor], old: list[Tensor], weight: list[Tensor]) -> Tensor:
    return sum((w * (a - b) ** 2).sum() for a, b, w in zip(now, old, weight, strict=True))  # pyright: ignore


def test_value_and_gradients_are_those_of_the_formula() -> None:
    now, old, weight = drawn()
    assert float(pull(now, old, weight)) == pytest.approx(float(plain(now, old, weight)))
    assert float(pull(now, now, weight)) == 0
    leaves = [value.requires_grad_() for value in now]
    ours = torch.autograd.grad(3 * pull(leaves, old, weight), leaves)
    theirs = torch.autograd.grad(3 * plain(leaves, old, weight), leaves)
    torch.testing.assert_close(ours, theirs)


def test_second_derivatives() -> None:
    now, old, weight = drawn()
    leaves = [value.requires_grad_() for value in now]
    assert torch.autograd.gradgradcheck(lambda *values: pull(values, old, weight), leaves)


def test_stacked() -> None:
    now, old, weight = drawn(5)
    leaves = [value.requires_grad_() for value in now]
    stacked = vmap(lambda a, b, w: pull(a, b, w))(leaves, old, weight)
    apart = [plain(*([value[i] for value in part] for part in (leaves, old, weight))) for i in range(5)]
    torch.testing.assert_close(stacked, torch.stack(apart))
    torch.testing.assert_close(
        torch.autograd.grad(stacked.sum(), leaves), torch.autograd.grad(torch.stack(apart).sum(), leaves)
    )


def test_a_large_gpu_holds_more_gradients_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"w": torch.empty(2**19)}
    there: Any = {"w": SimpleNamespace(is_cuda=True, device="cuda", numel=lambda: 2**19)}
    assert samples_at_once(here) == 32
    for gigabytes, expected in ((4, 128), (1, 32), (80, 256)):
        card = SimpleNamespace(total_memory=gigabytes * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, card=card: card)
        assert samples_at_once(there) == expected
    assert samples_at_once({"w": torch.empty(2**25, device="meta")}) == 1
