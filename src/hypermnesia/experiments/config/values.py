"""Single values against their declared types: strict, but for what a command line or TOML cannot say.

A field's type may be `bool`, `int`, `float`, `str`, a `Literal`, a tuple of these (`tuple[int, ...]`,
`tuple[float, float]`) and a union of these with one another or with None. Nothing is guessed: `true` is no
integer, `1.0` neither, and "1" is text. The exceptions: an integer is a number, a list is read as a tuple,
and `none` is no value where a field can have none, the plain word where it cannot.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.experiments.config.words import write_value

_NOUNS = {bool: "true | false", int: "integer", float: "number", str: "text", NoneType: "none"}


class _Mismatch(Exception):
    """The value is not of the type; `read` says so with all that it knows."""


def read(hint: object, value: object, where: str, *, finite: bool = True) -> object:
    """`value`, which is plain (see `parse_words`), as the type `hint`.

    Infinite numbers and NaN are refused if `finite`. Raises `HypermnesiaError` that names `where` if
    the value is not of the type, `TypeError` if the type is not one of those that a configuration may have.
    """
    try:
        return _convert(hint, value, finite)
    except _Mismatch:
        raise _error(hint, value, where) from None


@cache
def describe(hint: object) -> str:
    """A type in words: `integer | none`, `[number, number]`, `adam | sgd`."""
    args = get_args(hint)
    if is_union(hint):
        return " | ".join(describe(arg) for arg in args)
    if get_origin(hint) is Literal:
        return " | ".join(_choices(hint))
    if get_origin(hint) is tuple:
        return "[" + ", ".join("..." if arg is Ellipsis else describe(arg) for arg in args) + "]"
    if isinstance(hint, type) and hint in _NOUNS:
        return _NOUNS[hint]
    raise _unsupported(hint)


def is_union(hint: object) -> bool:
    """Whether `hint` is `X | Y` or `Optional[X]`."""
    return get_origin(hint) in (Union, UnionType)


def _convert(hint: object, value: object, finite: bool) -> object:
    if is_union(hint):
        return _one_of(get_args(hint), value, finite)
    if get_origin(hint) is Literal:
        return _choice(get_args(hint), value)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, finite)
    if hint is NoneType and (value is None or value == "none"):
        return None
    if hint is str and (value is None or isinstance(value, str)):
        return "none" if value is None else value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) or not finite:
            return float(value)
    elif hint not in _NOUNS:
        raise _unsupported(hint)
    raise _Mismatch


def _one_of(hints: tuple[object, ...], value: object, finite: bool) -> object:
    for hint in sorted(hints, key=lambda hint: hint is not NoneType):  # `none` means no value wherever it can
        try:
            return _convert(hint, value, finite)
        except _Mismatch:
            continue
    raise _Mismatch


def _choice(choices: tuple[object, ...], value: object) -> object:
    word = "none" if value is None else value
    for choice in choices:
        if type(choice) is type(word) and choice == word:
            return choice
    raise _Mismatch


def _tuple(hints: tuple[object, ...], value: object, finite: bool) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise _Mismatch
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        raise _Mismatch
    return tuple(_convert(hint, item, finite) for hint, item in zip(hints, value, strict=True))


def _error(hint: object, value: object, where: str) -> HypermnesiaError:
    choices = _choices(hint)
    if choices and isinstance(value, str):
        return unknown(where, value, choices)
    expected = describe(hint)
    advice = ""
    if isinstance(value, float) and not math.isfinite(value) and "number" in expected:
        advice = "; it must be finite"
    elif "text" in expected and isinstance(value, int | float):
        advice = "; quote it if it is text"
    elif expected.startswith("[") and not isinstance(value, list | tuple | Mapping):
        advice = f"; write a list as [{_shown(value)}]"
    return HypermnesiaError(f"{where}: expected {expected}, got {_kind(value)}{_shown(value)}{advice}")


def _choices(hint: object) -> list[str]:
    """The words that a value of this type is chosen from; none if other values are possible too."""
    if hint is NoneType:
        return ["none"]
    if get_origin(hint) is Literal:
        return ["none" if choice == "none" else write_value(choice) for choice in get_args(hint)]
    members = [_choices(arg) for arg in get_args(hint)] if is_union(hint) else []
    return [choice for choices in members for choice in choices] if all(members) else []


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    names = {int: "integer ", float: "number ", str: "text ", list: "list ", tuple: "list ", dict: "keys "}
    return names[type(value)]


def _shown(value: object) -> str:
    text = ", ".join(value) if isinstance(value, Mapping) else write_value(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unsupported(hint: object) -> TypeError:
    return TypeError(
        f"{hint} is no type that a configuration field may have; see hypermnesia.experiments.config.values"
    )
