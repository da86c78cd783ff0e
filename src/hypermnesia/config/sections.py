"""Plain values into frozen dataclasses and back: names known and types right, or an error that says so."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hypermnesia.config.fields import Field, fields_of
from hypermnesia.config.keys import keys, unknown_key
from hypermnesia.config.values import describe, read
from hypermnesia.errors import HypermnesiaError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from hypermnesia.config.fields import Section

T = TypeVar("T", bound="DataclassInstance")


def fill(sections: "Mapping[str, Section]", values: Mapping[str, object]) -> dict[str, Any]:
    """Each section with the values put into it.

    `sections` maps names to instances, whose values are the defaults, or to dataclass types, whose fields
    without a default must be given. `values` holds plain values under full dotted keys, in nested mappings,
    or both.

    Raises `HypermnesiaError`, naming the dotted key, for an unknown key, a value of the wrong type, a missing
    value, and whatever a section's own `__post_init__` finds wrong.
    """
    tree = _nest(values)
    for name in tree:
        if name not in sections:
            raise unknown_key(name, keys(sections))
    return {
        name: _build(section, _subtree(tree.get(name, {}), section, name), name)
        for name, section in sections.items()
    }


def build(section: T | type[T], values: Mapping[str, object], where: str = "") -> T:
    """One section with the values put into it, as `fill` does it; in errors its keys begin with `where`."""
    return _build(section, _nest(values), where)


def tree(sections: "Mapping[str, object] | DataclassInstance") -> dict[str, object]:
    """The plain values of sections, as nested dicts: what `fill` makes the same sections from.

    Tuples become lists, and the text "none" becomes None (see `toml`). Raises `TypeError` for other types of
    values.
    """
    if isinstance(sections, Mapping):
        return {name: _plain(value) for name, value in sections.items()}
    return {name: _plain(getattr(sections, name)) for name in fields_of(sections)}


def _plain(value: object) -> object:
    if isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return tree(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value == "none":
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a configuration holds no {type(value).__name__}: {value!r}")


def _build(section: T | type[T], values: Mapping[str, object], where: str) -> T:
    prefix = f"{where}." if where else ""
    fields = fields_of(section)
    for name in values:
        if name not in fields:
            raise unknown_key(prefix + name, [prefix + key for key in keys(section)])
    given = {name: _read_field(fields[name], value, prefix + name) for name, value in values.items()}
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING:
            kind = "its options" if field.section else describe(field.hint)
            raise HypermnesiaError(f"{prefix}{name} must be given: {kind}")
    try:
        return section(**given) if isinstance(section, type) else dataclasses.replace(section, **given)
    except (HypermnesiaError, ValueError) as error:
        told = where and f"{where}." not in str(error)
        raise HypermnesiaError(f"{where}: {error}" if told else str(error)) from error


def _read_field(field: Field, value: object, where: str) -> object:
    if field.section is None:
        return read(field.hint, value, where, finite=field.finite)
    if field.optional and (value is None or value == "none"):
        return None
    return _build(field.section, _subtree(value, field.section, where), where)


def _subtree(value: object, section: "Section", where: str) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, object]", value)
    options = ", ".join(f"{where}.{key}" for key in keys(section)) or "it has none here"
    raise HypermnesiaError(f"{where} takes no value; set its options: {options}")


def _nest(values: Mapping[str, object]) -> dict[str, Any]:
    """The same values with every dotted key taken apart into nested dicts."""
    root: dict[str, Any] = {}
    _merge(root, values, "")
    return root


def _merge(node: dict[str, Any], values: Mapping[str, object], prefix: str) -> None:
    for key, value in values.items():
        *sections, last = key.split(".")
        inner = node
        for name in sections:
            inner = _enter(inner, name, prefix + key)
        if isinstance(value, Mapping):
            _merge(_enter(inner, last, prefix + key), value, f"{prefix}{key}.")
        elif last in inner:
            raise HypermnesiaError(f"{prefix}{key} is given twice; give it once")
        else:
            inner[last] = value


def _enter(node: dict[str, Any], name: str, key: str) -> dict[str, Any]:
    inner = node.setdefault(name, {})
    if not isinstance(inner, dict):
        raise HypermnesiaError(f"{key} lies below {name}, which has a value of its own; give one of the two")
    return inner
