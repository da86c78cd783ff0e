"""Nested dataclasses, tuples, lists and dicts, taken apart and rebuilt.

`flat` and `rebuilt`: what a step may read, as tensors in a fixed order. `numbers` and `with_numbers`: settings that are
alike but for some of their numbers, and one copy of them that holds other numbers there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor


def _is_opaque(kind: type) -> bool:
    """Whether values of this type are not looked into: generators, and whatever says so of itself."""
    return kind is torch.Generator or getattr(kind, "opaque", False)


_PLAIN = frozenset((int, float, bool, str, type(None)))


class Flat(NamedTuple):
    """A nested value taken apart."""

    leaves: list[Tensor]
    form: list[Any]
    """All else: types, names, numbers, and of each leaf the shape, strides and type. Equal forms differ in the leaves'
    numbers alone."""


def flat(*values: Any) -> Flat:
    """The tensors in nested dataclasses, tuples, lists and dicts, and their form."""
    found = Flat([], [])
    _flatten(values, *found)
    return found


def _flatten(values: Iterable[Any], leaves: list[Tensor], form: list[Any]) -> None:
    for value in values:
        kind = type(value)
        if kind is Tensor or issubclass(kind, Tensor):
            leaves.append(value)
            form.append((value.shape, value.stride(), value.dtype))
        elif kind in _PLAIN:
            form.append(value)
        elif (open_up := _opener(kind)) is None:
            form.append(kind if _is_opaque(kind) else value)
        else:
            form.append(kind)
            if kind is dict:
                form.extend(value)
            _flatten(open_up(value), leaves, form)


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
    if _is_opaque(kind) or not is_dataclass(kind):
        return None
    names = [f.name for f in fields(kind)]
    if len(names) < 2:  # attrgetter gives one value bare
        return lambda value: [getattr(value, name) for name in names]
    return attrgetter(*names)


Path = tuple[str | int, ...]
"""Names of fields and keys, and positions, from the outside in."""


def numbers(values: Sequence[Any]) -> dict[Path, list[float]] | None:
    """Where nested settings differ, and the float that each has there; None where they differ in anything else."""
    found: dict[Path, list[float]] = {}
    walks: list[dict[Path, Any]] = [
        {path: type(v) if _opens(v) else v for path, v in _walk(value, ())} for value in values
    ]
    if any(walk.keys() != walks[0].keys() for walk in walks):
        return None
    for path, first in walks[0].items():
        here = [walk[path] for walk in walks]
        if all(type(value) is type(first) and value == first for value in here):
            continue
        if not all(type(value) is float for value in here):
            return None
        found[path] = here
    return found


def with_numbers(settings: Any, values: Mapping[Path, Any]) -> Any:
    """The settings with other values at these places, which are not checked as settings are: they may be tensors."""
    return _with(settings, values, ()) if values else settings


def _with(value: Any, values: Mapping[Path, Any], path: Path) -> Any:
    if path in values:
        return values[path]
    parts = list(_parts(value))
    if not any(there[: len(path)] == path for there in values) or not parts:
        return value
    again = {key: _with(part, values, (*path, key)) for key, part in parts}
    if isinstance(value, tuple | list):
        return type(value)(again.values())
    if isinstance(value, dict):
        return again
    copy = object.__new__(type(value))
    for key, part in again.items():
        object.__setattr__(copy, str(key), part)
    return copy


def walk(value: Any) -> Iterator[Any]:
    """The value and all that lies in it."""
    return (part for _, part in _walk(value, ()))


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, value
    for key, part in _parts(value):
        yield from _walk(part, (*path, key))


def _opens(value: Any) -> bool:
    return isinstance(value, dict | tuple | list) or (is_dataclass(value) and not isinstance(value, type))


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
    elif _opens(value):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))
