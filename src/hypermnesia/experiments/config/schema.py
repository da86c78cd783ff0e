"""The fields of options dataclasses, the keys that name them, and plain values put into them.

Names are known and types right, or an error says so. This is the one place that looks at annotations, defaults and
docstrings.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_args, get_type_hints

from hypermnesia.core.declared import describe, is_union
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config.values import read

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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


@dataclass(frozen=True)
class Field:
    """One field of a section."""

    hint: object
    """Its declared type."""
    default: object
    """Its value if nothing is said, or `dataclasses.MISSING`."""
    section: "Section | None"
    """For a field that holds options of its own: what they are filled into."""
    optional: bool
    """Whether it may be None."""
    part: bool
    """Whether it is nothing by itself, but holds the options of a part that may be missing."""


def _read_field(field: Field, value: object, where: str) -> object:
    if field.section is None:
        return read(field.hint, value, where)
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


Value = TypeVar("Value")


@dataclass(frozen=True)
class FieldInfo:
    """What a user may want to know of one key."""

    type: str
    """Its type in words: `integer | none`, `adam | sgd`, `[number, number]`."""
    default: object
    """Its value if nothing is said, or `dataclasses.MISSING` if it must be given."""
    doc: str
    """The docstring under its field, as one line; empty if there is none."""

    @property
    def required(self) -> bool:
        return self.default is MISSING


def keys(sections: "Mapping[str, Section] | Section") -> dict[str, FieldInfo]:
    """Every dotted key below the named sections (or of one dataclass, by itself), in the order of the fields.

    A section is a dataclass type or an instance whose values are the defaults. A section that may be left out
    (`X | None` inside another) has a key of its own, which can only be set to `none`.
    """
    if isinstance(sections, Mapping):
        return {key: info for name, section in sections.items() for key, info in _keys(section, f"{name}.")}
    return dict(_keys(sections, ""))


def _keys(section: "Section", prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    docs = docs_of(section if isinstance(section, type) else type(section))
    for name, field in fields_of(section).items():
        key, doc = prefix + name, docs.get(name, "")
        if field.section is None:
            yield key, FieldInfo(describe(field.hint), field.default, doc)
            continue
        if field.optional:
            yield key, FieldInfo("none", field.default, doc)
        yield from _keys(field.section, f"{key}.")


def meant(key: str, known: Iterable[str]) -> list[str]:
    """The keys among `known` that `key` may mean: itself, else those that it ends (`beta`: `drift.beta`), else those
    that have its first name and what follows it further in (`weights.chunk`: `weights.generator.chunk`)."""
    known = list(known)
    if key in known:
        return [key]
    first, _, rest = key.partition(".")
    ending = [full for full in known if full.endswith(f".{key}")]
    return ending or [
        full for full in known if rest and full.startswith(f"{first}.") and full.endswith(f".{rest}")
    ]


def resolve_key(key: str, known: Iterable[str]) -> str:
    """The one key among `known` that `key` means.

    Raises `HypermnesiaError` for a key that may mean several (it lists them) or none (it suggests the nearest).
    """
    known = list(known)
    found = meant(key, known)
    if not found:
        raise unknown_key(key, known)
    if len(found) > 1:
        raise HypermnesiaError(f"key {key!r} may mean {' or '.join(sorted(found))}; write one of these")
    return found[0]


def resolve_keys(values: Mapping[str, Value], sections: "Mapping[str, Section]") -> dict[str, Value]:
    """`values` under the full keys of `sections` (see `resolve_key`). Two words for one key are an error."""
    known = list(keys(sections))
    resolved: dict[str, Value] = {}
    said: dict[str, str] = {}
    for key, value in values.items():
        full = resolve_key(key, known)
        if full in resolved:
            raise HypermnesiaError(f"{full} is given twice, as {said[full]!r} and as {key!r}; give it once")
        resolved[full], said[full] = value, key
    return resolved


def unknown_key(key: str, known: Iterable[str]) -> HypermnesiaError:
    """The error for a key that does not exist. Shortened, it is compared with the ends of the known ones."""
    known = sorted(known)
    parts = key.count(".") + 1
    ends = {".".join(full.split(".")[-parts:]): full for full in reversed(known)}
    ends |= {full: full for full in known}
    nearest = [ends[found] for found in get_close_matches(key, ends, n=_NEAR)]
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    shown, more = known, ""
    if len(known) > _LISTED:
        shown = list(dict.fromkeys(nearest)) or known[:_NEAR]
        more = f" and {len(known) - len(shown)} more: hypermnesia list options APPROACH"
    return HypermnesiaError(f"unknown key {key!r}{hint} known: {', '.join(shown) or 'none'}{more}")


_LISTED = 40
"""More keys than these are not read by anybody."""
_NEAR = 8

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Section: TypeAlias = DataclassInstance | type[DataclassInstance]


def fields_of(section: "Section") -> dict[str, Field]:
    """The fields of a frozen dataclass by name. Of an instance, its values are the defaults, and a part that it does
    without (see `core.registry.PART`) is none of its fields."""
    if not is_dataclass(section):
        raise TypeError(f"a section of the configuration is a dataclass, not {section!r}")
    if isinstance(section, type):
        return {name: field for name, field in _declared(section).items() if field.section or not field.part}
    found = {}
    for name, field in _declared(type(section)).items():
        value = getattr(section, name)
        inside = value if is_dataclass(value) else None if field.part else field.section
        if inside or not field.part:
            found[name] = replace(field, default=value, section=inside)
    return found


@cache
def _declared(cls: type) -> dict[str, Field]:
    hints, found = get_type_hints(cls, include_extras=True), {}
    for field in fields(cls):
        if not field.init:
            continue
        hint, part = hints[field.name], field.metadata.get("part", False)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        types = [arg for arg in (get_args(hint) if is_union(hint) else (hint,)) if is_dataclass(arg)]
        inside = None if part or len(types) != 1 else types[0]
        found[field.name] = Field(
            hint=hint,
            default=default,
            section=default if is_dataclass(default) else inside,  # pyright: ignore[reportArgumentType]
            optional=not part and NoneType in (hint, *get_args(hint)),
            part=part,
        )
    return found


@cache
def docs_of(cls: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass and of those it inherits from, each as one line.

    They are read from the source, so a class without one (made in an interactive session, say) has none.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except OSError:
            continue
        definition = ast.parse(source).body[0]
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
    return docs
