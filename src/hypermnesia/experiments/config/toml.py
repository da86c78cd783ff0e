"""Configuration trees as TOML text and as hashes.

A tree is what `sections.tree` gives and what TOML can hold: nested dicts with text keys; values are int,
float, bool, text, None, and lists of these. TOML has no word for "no value", so None is written as the text
"none" and that text is read as None: in a configuration the text "none" and no value are the same thing, and
`from_toml(to_toml(t)) == t` for every tree that holds None rather than the text.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from hypermnesia.core.dotted import flatten
from hypermnesia.core.errors import HypermnesiaError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_MAX_DEPTH = 16  # of tables and lists inside one another
_INTEGERS = range(-(2**63), 2**63)  # what TOML promises to keep


def to_toml(tree: Mapping[str, object]) -> str:
    """The TOML text of a tree, in the tree's own order; equal trees in equal order give equal text.

    Raises `HypermnesiaError` for text that is not Unicode and integers beyond 64 bits, `TypeError` for other
    values that TOML does not have.
    """
    return "\n".join(_tables(tree, ())).lstrip("\n") + "\n"


def from_toml(text: str, where: str = "TOML text") -> dict[str, object]:
    """The tree that TOML text describes, with None where it says "none".

    Raises `HypermnesiaError`, naming `where` (a file name, say), for text that is not TOML, for dates and
    times, for integers beyond 64 bits and for nesting beyond 16 levels.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise HypermnesiaError(f"{where} is not valid TOML: {error}") from error
    return {key: _plain(value, f"{where}: {key}", 1) for key, value in values.items()}


def sha256(tree: Mapping[str, object], exclude: Sequence[str] = ()) -> str:
    """The SHA-256 (hexadecimal) of a tree's values, whatever their order.

    Values whose dotted key matches one of the patterns `exclude` (as file names do: `tracking.*`) do not
    count.
    """
    counted = {
        key: None if value == "none" else value
        for key, value in flatten(tree).items()
        if not any(fnmatchcase(key, pattern) for pattern in exclude)
    }
    canonical = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def quote(text: str) -> str:
    """`text` as a TOML basic string."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise HypermnesiaError(f"{text!r} is not Unicode text, so that it cannot be written to a file")
    return '"' + "".join(_ESCAPES.get(c, c if c.isprintable() else _escaped(c)) for c in text) + '"'


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _tables(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table: its own values first, since all after a sub-table's header belongs to that."""
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_literal(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield f"\n[{'.'.join(_key(part) for part in (*path, key))}]"
            yield from _tables(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else quote(key)


def _literal(value: object) -> str:
    match value:
        case None:
            return '"none"'
        case bool():
            return "true" if value else "false"
        case int():
            if value not in _INTEGERS:
                raise HypermnesiaError("an integer beyond 64 bits cannot be written as TOML")
            return str(value)
        case float():
            return repr(value)
        case str():
            return quote(value)
        case list() | tuple():
            return "[" + ", ".join(_literal(item) for item in value) + "]"
        case _:
            raise TypeError(f"a configuration holds no {type(value).__name__}: {value!r}")


def _plain(value: object, where: str, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise HypermnesiaError(f"{where} lies deeper than {_MAX_DEPTH} levels")
    match value:
        case dict():
            return {key: _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
        case list():
            return [_plain(item, where, depth + 1) for item in value]
        case bool() | float():
            return value
        case int():
            if value not in _INTEGERS:
                raise HypermnesiaError(f"{where} is an integer beyond 64 bits; quote it if it is text")
            return value
        case str():
            return None if value == "none" else value
        case _:
            raise HypermnesiaError(f"{where} is a date or a time; quote it if it is text")
