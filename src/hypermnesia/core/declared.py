"""Declared types of options, with their ranges: in words, and values held against them.

A field's type may be `bool`, `int`, `float`, `str`, a `Literal`, a tuple of these (`tuple[int, ...]`,
`tuple[float, float]`), a union of these with one another or with None, and any of them with a range
(`Annotated[float, Ge(0)]`, see the names below). Nothing is guessed: `true` is no integer, `1.0` neither, and "1" is
text. The exceptions: an integer is a number, a list is taken as a tuple, and "none" is no value where a field can have
none, the plain word where it cannot. NaN and infinite numbers are none.

The reader of words and files and the constructors in Python hold values against the same declarations.
"""

import json
import operator
import re
import sys
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen

from hypermnesia.core.errors import HypermnesiaError, unknown

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Probability = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Ge(0), Le(1)]
Counts = tuple[Count, ...]
"""Such as the widths of layers."""
OneOrMore = Annotated[Counts, MinLen(1)]

_NOUNS = {bool: "true | false", int: "integer", float: "number", str: "text", NoneType: "none"}
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./*-]*")
_SIGNS = {Ge: (">=", operator.ge), Gt: (">", operator.gt), Le: ("<=", operator.le), Lt: ("<", operator.lt)}


class Mismatch(Exception):
    """The value is not of the type, or out of its range."""


class Checked:
    """Options that hold their values against their declared types when they are made: `class Mine(Checked, section="mine")`."""

    _section: ClassVar[str]

    def __init_subclass__(cls, section: str | None = None) -> None:
        if section is not None:
            cls._section = section

    def __post_init__(self) -> None:
        check_options(self, self._section)


def check_options(options: Any, section: str) -> None:
    """Hold every field of the dataclass `options` against its declared type; a list becomes the tuple that is meant.

    For `__post_init__`: the reader of words knows every field's type, a constructor does not, and a word that it took
    without looking would quietly mean something else. Fields of other types (parts with options of their own) are left
    alone. Raises `HypermnesiaError`, naming `section`.field, for a value that is not of its type and range.
    """
    for name, hint in _declared(type(options)).items():
        value = getattr(options, name)
        try:
            meant = convert(hint, value)
        except Mismatch:
            raise mistaken(hint, value, f"{section}.{name}") from None
        if type(meant) is not type(value):
            object.__setattr__(options, name, meant)


@cache
def _declared(kind: type) -> dict[str, object]:
    """The fields of a dataclass that hold plain values, and their types."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        field.name: hints[field.name] for field in fields(kind) if field.init and is_plain(hints[field.name])
    }


def mistaken(hint: object, value: object, key: str) -> HypermnesiaError:
    """The error for a value that does not fit."""
    choices = choices_of(hint)
    if choices:
        return unknown(key, str(value), choices)
    return HypermnesiaError(f"{key}={value!r}: expected {describe(hint)}")


@cache
def describe(hint: object) -> str:
    """A type in words: `integer >= 1 | none`, `[number, number]`, `adam | sgd`."""
    args = get_args(hint)
    if is_union(hint):
        return " | ".join(describe(arg) for arg in args)
    if get_origin(hint) is Annotated:
        return f"{describe(args[0])} {' and '.join(_bound(bound) for bound in args[1:])}"
    if get_origin(hint) is Literal:
        return " | ".join(choices_of(hint))
    if get_origin(hint) is tuple:
        return "[" + ", ".join("..." if arg is Ellipsis else describe(arg) for arg in args) + "]"
    if isinstance(hint, type) and hint in _NOUNS:
        return _NOUNS[hint]
    raise TypeError(f"{hint} is no type that an option may have; see hypermnesia.core.declared")


def is_plain(hint: object) -> bool:
    """Whether `hint` is one of the types that an option may have."""
    try:
        describe(hint)
    except TypeError:
        return False
    return True


def is_union(hint: object) -> bool:
    """Whether `hint` is `X | Y` or `Optional[X]`."""
    return get_origin(hint) in (Union, UnionType)


def choices_of(hint: object) -> list[str]:
    """The words that a value of this type is chosen from; none if other values are possible too."""
    if hint is NoneType:
        return ["none"]
    if get_origin(hint) is Literal:
        return [_word(choice) for choice in get_args(hint)]
    members = [choices_of(arg) for arg in get_args(hint)] if is_union(hint) else []
    return [choice for choices in members for choice in choices] if all(members) else []


def _word(choice: object) -> str:
    return choice if isinstance(choice, str) and _BARE.fullmatch(choice) else json.dumps(choice)


def convert(hint: object, value: object) -> object:
    """`value` as the type `hint`. Raises `Mismatch` if it is not of that type, `TypeError` for another sort of type."""
    args = get_args(hint)
    if is_union(hint):
        return _one_of(args, value)
    if get_origin(hint) is Annotated:
        return _in_range(convert(args[0], value), args[1:])
    if get_origin(hint) is Literal:
        return _choice(args, value)
    if get_origin(hint) is tuple:
        return _tuple(args, value)
    if hint is NoneType and (value is None or value == "none"):
        return None
    if hint is str and (value is None or isinstance(value, str)):
        return "none" if value is None else value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (
        hint is float
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # false of NaN, too
    ):
        return float(value)
    if hint not in _NOUNS:
        describe(hint)
    raise Mismatch


def _one_of(hints: tuple[object, ...], value: object) -> object:
    for hint in sorted(hints, key=lambda hint: hint is not NoneType):  # `none` means no value wherever it can
        try:
            return convert(hint, value)
        except Mismatch:
            continue
    raise Mismatch


def _choice(choices: tuple[object, ...], value: object) -> object:
    word = "none" if value is None else value
    for choice in choices:
        if type(choice) is type(word) and choice == word:
            return choice
    raise Mismatch


def _tuple(hints: tuple[object, ...], value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise Mismatch
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        raise Mismatch
    return tuple(convert(hint, item) for hint, item in zip(hints, value, strict=True))


def _in_range(value: Any, bounds: tuple[object, ...]) -> object:
    for bound in bounds:
        if isinstance(bound, MinLen):
            fits = len(value) >= bound.min_length
        else:
            fits = _SIGNS[type(bound)][1](value, _limit(bound))
        if not fits:
            raise Mismatch
    return value


def _bound(bound: object) -> str:
    if isinstance(bound, MinLen):
        return f"of {bound.min_length} or more"
    return f"{_SIGNS[type(bound)][0]} {_limit(bound)}"


def _limit(bound: Any) -> Any:
    return getattr(bound, type(bound).__name__.lower())
