"""The structured hypernetwork: a template for each group of like tensors, written with a learned vector per piece."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, cast

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Count, Counts
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor, Shapes
from hypermnesia.weights.hypernets.layers import OutputMap, Table, TaskRows, Trunk
from hypermnesia.weights.hypernets.network import Network, NoisyOptions

Unit = Literal["tensor", "filter"]


@dataclass(frozen=True, kw_only=True)
class StructuredOptions(NoisyOptions):
    """One small hypernetwork per group of tensors, as hypnettorch's `StructuredHMLP` with its residual chunkings.

    Its pieces are whole tensors or whole filters, where those of a chunked hypernetwork end anywhere.
    """

    unit: Unit = "tensor"
    """What one pass writes, and which tensors share a template. tensor: tensors of equal shape (layers of one width of
    a residual network). filter: all filters of one size, whatever layer they are in (one output unit's weights).
    Vectors are written whole in both."""
    piece_embedding: Count = 8
    """Numbers in the learned vector of each piece, at least 1 (hypnettorch 8)."""
    hidden: Counts = (32,)
    """Units of each hidden layer of every template; () makes them linear."""
    init: Literal["plain", "xavier"] = "plain"
    """Start of its weights. plain: torch's. xavier."""

    def empty(self, shapes: Mapping[str, torch.Size]) -> "Structured":
        return Structured(self, shapes)


class Template(nn.Module):
    """h_g(e)_i = A [trunk(c_i ; e) ; 1] for piece i of a group, c_i its learned vector."""

    def __init__(self, options: StructuredOptions, pieces: int, size: int) -> None:
        super().__init__()
        inputs = options.piece_embedding + options.embedding
        self.pieces = Table(pieces, options.piece_embedding)
        self.trunk = Trunk(inputs, options.hidden, options.activation, dropout=options.dropout)
        self.out = OutputMap(self.trunk.width, size)

    def factor(self, own: Tensor, shapes: Shapes) -> LinearFactor:
        """Task embeddings (T, 1, embedding) → the factor of the group's tensors."""
        return LinearFactor(self.trunk.homogeneous(self.pieces.weight[None], own), self.out.weight, shapes)


class Structured(Network):
    """Tensors in groups, one `Template` for each; the pieces of a group side by side are its tensors in their order."""

    def __init__(self, options: StructuredOptions, shapes: Mapping[str, torch.Size]) -> None:
        rows = TaskRows((options.embedding,), options.embedding_std)
        super().__init__(shapes, rows, options.embedding_noise)
        groups: dict[tuple[int, ...], Shapes] = {}
        for name, shape in self.shapes.items():
            groups.setdefault(_key(shape, options.unit), {})[name] = shape
        self.groups = list(groups.values())
        """The tensors of each template."""
        by_filter = [options.unit == "filter" and len(next(iter(g.values()))) > 1 for g in self.groups]
        self.templates = nn.ModuleList()
        for group, filters in zip(self.groups, by_filter, strict=True):
            first = next(iter(group.values()))
            pieces = sum(shape[0] for shape in group.values()) if filters else len(group)
            self.templates.append(Template(options, pieces, prod(first[1:] if filters else first)))

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        own = self.inputs(tasks)[:, None]
        return [t.factor(own, group) for t, group in zip(self.per_group(), self.groups, strict=True)]

    def per_group(self) -> "list[Template]":
        """The templates, in the order of `groups`."""
        return cast("list[Template]", list(self.templates))


def _key(shape: torch.Size, unit: Unit) -> tuple[int, ...]:
    """Tensors of equal keys share a template; a filter's key never equals that of a whole vector."""
    return (-1, *shape[1:]) if unit == "filter" and len(shape) > 1 else tuple(shape)
