"""Settings that are alike but for some of their numbers, and one copy of them that holds other numbers there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

Path = tuple[str | int, ...]
"""Names of fields and keys, and positions, from the outside in."""


def numbers(values: Sequence[Any]) -> dict[Path, list[float]] | None:
    """Where nested settings differ, and the float that each has there; None where they differ in anything else."""
    found: dict[Path, list[float]] = {}
    walks = [dict(_leaves(value, ())) for value in values]
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


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, type(value) if _opens(value) else value
    for key, part in _parts(value):
        yield from _leaves(part, (*path, key))


def _opens(value: Any) -> bool:
    return isinstance(value, dict | tuple | list) or (is_dataclass(value) and not isinstance(value, type))


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
    elif _opens(value):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))
