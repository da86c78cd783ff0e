"""The keys of a configuration: which there are, what they mean, and how they may be shortened."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from hypermnesia.config.fields import docs_of, fields_of
from hypermnesia.config.values import describe
from hypermnesia.errors import HypermnesiaError

if TYPE_CHECKING:
    from hypermnesia.config.fields import Section

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


def resolve_key(key: str, known: Iterable[str]) -> str:
    """The key among `known` that `key` means: itself, or the only one that it ends (`beta`: `drift.beta`).

    Raises `HypermnesiaError` for a key that ends several (it lists them) or none (it suggests the nearest).
    """
    known = list(known)
    if key in known:
        return key
    ending = [full for full in known if full.endswith(f".{key}")]
    if not ending:
        raise unknown_key(key, known)
    if len(ending) > 1:
        raise HypermnesiaError(f"key {key!r} may mean {' or '.join(sorted(ending))}; write one of these")
    return ending[0]


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
