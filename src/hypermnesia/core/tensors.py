"""Arithmetic on named tensors: parameters, buffers, gradients and weights travel as `dict[str, Tensor]`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError

Tensors = dict[str, Tensor]
NamedTensors = Mapping[str, Tensor]


def map_tensors(function: Callable[..., Tensor], first: NamedTensors, *others: NamedTensors) -> Tensors:
    """`function` applied name by name; every argument must hold the names of the first."""
    return {name: function(value, *(other[name] for other in others)) for name, value in first.items()}


def add(a: NamedTensors, b: NamedTensors) -> Tensors:
    """a + b; a name that only one side holds is taken from that side (a gradient that is absent is zero)."""
    total = dict(a)
    for name, value in b.items():
        total[name] = total[name] + value if name in total else value
    return total


def scale(a: NamedTensors, factor: float) -> Tensors:
    """factor · a, name by name."""
    return {name: value * factor for name, value in a.items()}


def zeros_like(a: NamedTensors) -> Tensors:
    """Zeros with the names, shapes and devices of `a`."""
    return {name: torch.zeros_like(value, requires_grad=False) for name, value in a.items()}


def copy(a: NamedTensors) -> Tensors:
    """Detached copies that share no memory with `a`."""
    return {name: value.detach().clone() for name, value in a.items()}


def padded(a: NamedTensors, like: NamedTensors) -> Tensors:
    """The values with rows of zeros added where those of `like`, under the same names, have more rows."""
    found = {}
    for name, value in a.items():
        missing = len(like[name]) - len(value) if value.ndim and name in like else 0
        found[name] = torch.cat([value, value.new_zeros(missing, *value.shape[1:])]) if missing > 0 else value
    return found


def dot(a: NamedTensors, b: NamedTensors) -> Tensor:
    """⟨a, b⟩ over all names: a scalar, 0 when there are none."""
    products = [(value * b[name]).sum() for name, value in a.items()]
    return torch.stack(products).sum() if products else torch.zeros(())


def count(a: NamedTensors) -> int:
    """Number of scalars."""
    return sum(value.numel() for value in a.values())


def num_bytes(a: NamedTensors) -> int:
    """Bytes of all values as they are stored."""
    return sum(value.numel() * value.element_size() for value in a.values())


def matching(patterns: Sequence[str], names: Iterable[str], what: str = "parameter") -> list[str]:
    """The `names` that at least one pattern matches, in their own order.

    A pattern is a shell-style name pattern (`"layer4.*"`); a plain prefix that ends at a dot counts as well, so
    `"layer4"` means the same. Raises `HypermnesiaError` for a pattern that matches nothing: a silent miss would
    leave a part of the network untouched.
    """
    names = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        hits = [n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, pattern + ".*")]
        if not hits:
            listing = ", ".join(names) if names else "(none)"
            raise HypermnesiaError(f"the pattern {pattern!r} matches no {what}; there are: {listing}")
        chosen.update(hits)
    return [name for name in names if name in chosen]


def with_prefix(prefix: str, a: NamedTensors) -> Tensors:
    """The same values under `prefix` + name."""
    return {prefix + name: value for name, value in a.items()}


def under_prefix(prefix: str, a: NamedTensors) -> Tensors:
    """The values whose names start with `prefix`, with the prefix removed."""
    return {name[len(prefix) :]: value for name, value in a.items() if name.startswith(prefix)}
