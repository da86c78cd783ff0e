"""States, batches and draws as flat lists of tensors, and back: what a loss may read, in a fixed order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypermnesia.memory import Memory

OPAQUE = (Memory, torch.Generator)
"""Not looked into: a memory's samples come to a loss with the draw."""


class Flat(NamedTuple):
    """A nested value taken apart."""

    leaves: list[Tensor]
    form: list[Any]
    """All else: types, names, numbers, and of each leaf the shape, strides and type. Equal forms differ in the leaves'
    numbers alone."""


def flat(*values: Any) -> Flat:
    """The tensors in nested dataclasses, tuples, lists and dicts, and their form."""
    found = Flat([], [])
    for value in values:
        _flatten(value, found)
    return found


def _flatten(value: Any, found: Flat) -> None:
    kind = type(value)
    if kind is Tensor or issubclass(kind, Tensor):
        found.leaves.append(value)
        found.form.append((value.shape, value.stride(), value.dtype))
        return
    open_up = _opener(kind)
    if open_up is None:
        found.form.append(kind if kind in OPAQUE else value)
        return
    found.form.append(kind)
    if kind is dict:
        found.form.extend(value)
    for part in open_up(value):
        _flatten(part, found)


def rebuilt(value: Any, leaves: Iterator[Tensor]) -> Any:
    """`value` with its tensors replaced by the next of `leaves`, in the order of `flat`."""
    kind = type(value)
    if kind is Tensor or issubclass(kind, Tensor):
        return next(leaves)
    open_up = _opener(kind)
    if open_up is None:
        return value
    again = [rebuilt(part, leaves) for part in open_up(value)]
    if kind is dict:
        return dict(zip(value, again, strict=True))
    if kind is tuple or kind is list:
        return kind(again)
    if issubclass(kind, tuple):  # a named one
        return kind(*again)
    return kind(**dict(zip((f.name for f in fields(kind)), again, strict=True)))


@lru_cache
def _opener(kind: type) -> Callable[[Any], Iterable[Any]] | None:
    """What lists the parts of a value of this type; None if it is a leaf. Every step asks for the same few types."""
    if issubclass(kind, dict):
        return dict.values
    if issubclass(kind, tuple | list):
        return iter
    if kind in OPAQUE or not is_dataclass(kind):
        return None
    names = [f.name for f in fields(kind)]
    if len(names) < 2:  # attrgetter gives one value bare
        return lambda value: [getattr(value, name) for name in names]
    return attrgetter(*names)
