"""Seeded choices that keep the proportions of the classes; of numbers, plain random ones."""

from collections.abc import Sequence

import torch
from torch import Tensor


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """`total` divided in proportion to `sizes` by largest remainder; equal remainders go to the first.

    Needs 0 ≤ total ≤ sum(sizes); then no share exceeds its size.
    """
    whole = sum(sizes)
    parts = [size * total // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(sizes[i] * total % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def take(y: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Ascending positions (count,) of a random choice from labels `y` (n,) that keeps their shares."""
    chosen = _members(y, rng)
    counts = shares([len(members) for members in chosen], count)
    return torch.cat([members[:k] for members, k in zip(chosen, counts, strict=True)]).sort().values


def hold_out(y: Tensor, fraction: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ascending positions (kept, held out) of labels `y`: of each class about `fraction` is held out.

    Of every class at least one sample is held out and at least one kept; a class of one sample is kept.
    """
    kept, held = [], []
    for members in _members(y, rng):
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held.append(members[:count])
        kept.append(members[count:])
    return torch.cat(kept).sort().values, torch.cat(held).sort().values


def _members(y: Tensor, rng: torch.Generator) -> list[Tensor]:
    """For each class in `y`, ascending, the positions of its samples in random order."""
    order = torch.randperm(len(y), generator=rng)
    if y.is_floating_point():
        return [order]
    by_class = order[y[order].argsort(stable=True)]
    counts = torch.bincount(y)
    return [members for members in by_class.split(counts.tolist()) if len(members)]


def first(y: Tensor, most: int) -> Tensor:
    """Ascending positions of the first `most` samples of each class in `y` (n,)."""
    same = [(y == c).nonzero().squeeze(1)[:most] for c in y.unique()]
    return torch.cat(same).sort().values
