"""A generator smaller than its target: every matrix is a sum of a few generated outer products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Count, NotNegative, OneOrMore
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor, OuterFactor, Shapes
from hypermnesia.weights.hypernets.layers import OutputMap, Table, TaskRows, Trunk
from hypermnesia.weights.hypernets.network import Network, NetworkOptions


@dataclass(frozen=True, kw_only=True)
class LowRankOptions(NetworkOptions):
    """Low-rank generator. Own design; layer embeddings as in Text-to-LoRA (arXiv 2506.06105)."""

    matrices_only: ClassVar[bool] = True

    rank: Count = 4
    """Outer products per matrix, at least 1. A matrix that they would not make smaller is written in full."""
    layer_embedding: Count = 8
    """Numbers in each tensor's learned vector, at least 1; it lets tensors of equal size share a head."""
    hidden: OneOrMore = (32, 16)
    """Units of the layers before the heads, at least one: there the task and the tensor meet."""
    init: Literal["plain", "xavier", "hyperfan-in", "zero"] = "plain"
    """Start of its weights. plain: torch's. xavier. hyperfan-in: generated weights with Kaiming's variance, no norm layer's
    scales and shifts among them. zero: everything written is 0 until it is trained, for additions to a given network (LoRA)."""
    mask_bias: NotNegative = 0.0
    """Added to all that is written at the start, at least 0: masks |tanh(h)| start near tanh(mask_bias)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_bias and self.init == "zero":
            raise HypermnesiaError(
                "generator.init=zero writes zeros, generator.mask_bias would undo that: choose one"
            )

    @classmethod
    def writing(cls, role: str | None) -> Self:
        """Where it changes a given network, additions do nothing at first and masks little (tanh 2 = 0.96). Additions
        gain from a wider generator, and it is still as small as a few stored adapters."""
        if role == "added":
            return cls(embedding=32, layer_embedding=32, hidden=(64, 64), init="zero")
        return cls(mask_bias=2.0) if role == "masked" else cls()

    def empty(self, shapes: Mapping[str, torch.Size]) -> "LowRank":
        return LowRank(self, shapes)


class OuterHead(nn.Module):
    """The factors U and V of all matrices of one size (out, inputs)."""

    def __init__(self, features: int, out: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.u = OutputMap(features, out * rank)
        self.v = OutputMap(features, inputs * rank)

    def factor(self, features: Tensor, shapes: Shapes) -> OuterFactor:
        """features (T, L, width) → the factor of the L tensors in `shapes`."""
        u, v = (head(features).unflatten(-1, (-1, self.rank)) for head in (self.u, self.v))
        return OuterFactor(u, v, shapes)

    def hyperfan(self, variance: float, squares: float, rng: torch.Generator) -> None:
        """Start with entries of U Vᵀ of the given variance, `squares` being the sum of squared features."""
        each = initial.Fan("weight")
        for head in (self.u, self.v):
            initial.fill_rows(head.weight, each, sqrt(variance / self.rank), squares, True, rng)

    def zero(self) -> None:
        """Start at U Vᵀ = 0; V stays random, or no gradient would ever reach either."""
        with torch.no_grad():
            self.u.weight.zero_()

    def offset(self, value: float) -> None:
        """Add about `value` to all entries of U Vᵀ: √value to the biases of the first pair of vectors."""
        with torch.no_grad():
            self.u.weight[:: self.rank, -1] += sqrt(value)
            self.v.weight[:: self.rank, -1] += sqrt(value)


class DirectHead(nn.Module):
    """All entries of the tensors of one shape: vectors, or matrices too small to gain from outer products."""

    def __init__(self, features: int, shape: torch.Size) -> None:
        super().__init__()
        self.out = OutputMap(features, prod(shape))

    def factor(self, features: Tensor, shapes: Shapes) -> LinearFactor:
        """features (T, L, width) → the factor of the L tensors in `shapes`."""
        return LinearFactor(self.out.homogeneous(features), self.out.weight, shapes)

    def hyperfan(self, variance: float, squares: float, rng: torch.Generator) -> None:
        """Start with entries of the given variance, `squares` being the sum of squared features."""
        initial.fill_rows(self.out.weight, initial.Fan("weight"), variance, squares, True, rng)

    def zero(self) -> None:
        """Start at 0."""
        with torch.no_grad():
            self.out.weight.zero_()

    def offset(self, value: float) -> None:
        """Add `value` to all entries."""
        initial.offset(self.out, value)


class LowRank(Network):
    """z = trunk(l ; e) for each tensor's embedding l; heads on z write W = Σ_r u_r v_rᵀ, and vectors in full.

    Tensors of equal size share their head, so a tensor more costs one layer embedding. Convolutions count as
    matrices (out, in × kernel positions). U and V are linear in z, their product is not: drift is measured on
    the product, as for every other generator (see `hyper.drift`).
    """

    def __init__(self, options: LowRankOptions, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__(shapes, TaskRows((options.embedding,), options.embedding_std))
        groups: dict[tuple[int, ...], Shapes] = {}
        for name, shape in self.shapes.items():
            key = (shape[0], prod(shape[1:])) if _gains(shape, options.rank) else tuple(shape)
            groups.setdefault(key, {})[name] = shape
        self.groups = list(groups.values())
        """The tensors of each head."""
        self.layers = Table(len(self.shapes), options.layer_embedding)
        self.trunk = Trunk(options.layer_embedding + options.embedding, options.hidden, options.activation)
        self.heads = nn.ModuleList(_head(self.trunk.width, group, options.rank) for group in self.groups)
        sizes = (options.layer_embedding, options.embedding)
        self._input_variance = (sizes[0] + sizes[1] * options.embedding_std**2) / sum(sizes)

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        features = self.trunk(self.layers.weight[None], self.embeddings.pick(tasks)[:, None])
        pieces = features.split([len(group) for group in self.groups], dim=1)
        return [
            head.factor(z, group)
            for head, z, group in zip(self.per_group(), pieces, self.groups, strict=True)
        ]

    def per_group(self) -> "list[OuterHead | DirectHead]":
        """The heads, in the order of `groups`."""
        return cast("list[OuterHead | DirectHead]", list(self.heads))

    def hyperfan(
        self,
        scheme: initial.Hyperfan,
        fans: Mapping[str, initial.Fan],
        rng: torch.Generator,
        gain: float = 2.0,
    ) -> None:
        """Start with the variance of `initial.target_variance`, averaged over the tensors of a head."""
        initial.refuse_norms(fans, "low-rank")
        initial.kaiming(self.trunk, rng)
        initial.tables(self, rng)
        squares = self.trunk.width * initial.second_moment(self.trunk, self._input_variance)
        for head, group in zip(self.per_group(), self.groups, strict=True):
            variances = [initial.target_variance(fans[name], scheme, gain) for name in group]
            head.hyperfan(sum(variances) / len(variances), squares, rng)

    def finish(self, options: NetworkOptions, rng: torch.Generator) -> None:
        for head in self.per_group():
            if options.init == "zero":
                head.zero()
            head.offset(options.mask_bias)


def _gains(shape: torch.Size, rank: int) -> bool:
    """Whether outer products take fewer numbers than the matrix has."""
    out, inputs = shape[0] if shape else 1, prod(shape[1:])
    return rank * (out + inputs) < out * inputs


def _head(features: int, group: Shapes, rank: int) -> OuterHead | DirectHead:
    shape = next(iter(group.values()))
    if _gains(shape, rank):
        return OuterHead(features, shape[0], prod(shape[1:]), rank)
    return DirectHead(features, shape)
