"""What generators put out: the products whose results are the target's tensors, not yet multiplied out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from hypermnesia.core.tensors import Tensors

Shapes = dict[str, torch.Size]


@dataclass(frozen=True)
class LinearFactor:
    """r rows of inputs per task, and the one linear map that all of them go through.

    The r · m results of a task, row after row, are the entries of the tensors in `shapes`, one tensor after
    the other; what is left over at the end (the surplus of a last chunk) is discarded.
    """

    z: Tensor
    """(T, r, d) inputs; (T, 1, d) where `shared` is given. With a bias the last of them is the constant 1."""
    weight: Tensor
    """(m, d), or (m, c + d) where `shared` is given."""
    shapes: Shapes
    """The tensors written, by name, in the order of their entries."""
    shared: Tensor | None = None
    """(r, c) inputs that all tasks have in common: the inputs of row i of task t are [shared_i ; z_t]."""

    @property
    def rows(self) -> int:
        """r."""
        return self.z.shape[-2] if self.shared is None else self.shared.shape[-2]

    @property
    def outputs(self) -> int:
        """m."""
        return self.weight.shape[-2]

    def results(self) -> Tensor:
        """Everything multiplied out: (T, r, m)."""
        if self.shared is None:
            return F.linear(self.z, self.weight)
        common, own = self.weight.split([self.shared.shape[-1], self.z.shape[-1]], dim=1)
        return F.linear(self.z, own) + F.linear(self.shared, common)


@dataclass(frozen=True)
class OuterFactor:
    """L matrices of equal size per task, each the sum of `rank` outer products: W = U Vᵀ."""

    u: Tensor
    """(T, L, out, rank)."""
    v: Tensor
    """(T, L, in, rank); `in` counts kernel positions too, for convolutions."""
    shapes: Shapes
    """The L tensors written, by name, each (out, …) with `in` numbers per output."""

    def results(self) -> Tensor:
        """Everything multiplied out: (T, L, out, in)."""
        return self.u @ self.v.mT


Factor = LinearFactor | OuterFactor


def assemble(factors: Sequence[Factor]) -> Tensors:
    """The tensors that the factors stand for: name → (T, *shape)."""
    tensors: Tensors = {}
    for factor in factors:
        flat = factor.results().flatten(1)
        sizes = [prod(shape) for shape in factor.shapes.values()]
        # One split, not one slice per tensor: its backward writes each gradient once.
        pieces = flat.split([*sizes, flat.shape[1] - sum(sizes)], dim=1)
        for (name, shape), piece in zip(factor.shapes.items(), pieces, strict=False):
            tensors[name] = piece.unflatten(1, shape) if shape else piece.squeeze(1)
    return tensors


def take(factors: Sequence[Factor], tasks: Tensor | slice) -> list[Factor]:
    """The factors of some of their tasks, by position: so one pass serves the current task and earlier
    ones."""
    return [
        replace(f, z=f.z[tasks]) if isinstance(f, LinearFactor) else replace(f, u=f.u[tasks], v=f.v[tasks])
        for f in factors
    ]


def split(factors: Sequence[Factor], sizes: Sequence[int]) -> list[list[Factor]]:
    """The factors of the first `sizes[0]` tasks, of the next `sizes[1]`, and so on: one pass serves them all.

    One split and not a `take` for each group: its backward writes each gradient once.
    """
    groups: list[list[Factor]] = [[] for _ in sizes]
    for f in factors:
        if isinstance(f, LinearFactor):
            parts = [replace(f, z=z) for z in f.z.split(list(sizes))]
        else:
            pairs = zip(f.u.split(list(sizes)), f.v.split(list(sizes)), strict=True)
            parts = [replace(f, u=u, v=v) for u, v in pairs]
        for group, part in zip(groups, parts, strict=True):
            group.append(part)
    return groups
