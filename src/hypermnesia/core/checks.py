"""Checks of settings, for those that are made in Python: the reader of words and files knows every field's type, a
constructor does not, and a word that it took without looking would quietly mean something else.

`key` is a setting as it is written on the command line.
"""

from collections.abc import Collection
from dataclasses import fields
from functools import cache
from math import isfinite
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypermnesia.core.errors import HypermnesiaError, unknown


def check_count(key: str, value: int, least: int = 1) -> None:
    """Raise unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise HypermnesiaError(f"{key}={value!r}: expected a whole number, at least {least}")


def check_not_negative(key: str, value: float) -> None:
    """Raise unless `value` is a finite number of at least 0."""
    if not (isfinite(value) and value >= 0):
        raise HypermnesiaError(f"{key}={value!r}: expected a finite number, at least 0")


def check_probability(key: str, value: float) -> None:
    """Raise unless `value` is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise HypermnesiaError(f"{key}={value}: expected a probability, at least 0 and below 1")


def check_choice(key: str, value: str | int, choices: Collection[str | int]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise unknown(key, str(value), map(str, choices))


def check_choices(options: Any, section: str) -> None:
    """Raise unless every field of the dataclass `options` whose type is a choice (`Literal[...]`) holds one of those."""
    for name, choices in _choices(type(options)).items():
        check_choice(f"{section}.{name}", getattr(options, name), choices)


@cache
def _choices(kind: type) -> dict[str, tuple[str | int, ...]]:
    """The fields of type `Literal[...]` of a dataclass, and what they may be."""
    hints = get_type_hints(kind)
    found = {field.name: hints[field.name] for field in fields(kind)}
    return {name: get_args(hint) for name, hint in found.items() if get_origin(hint) is Literal}


def check_widths(key: str, values: tuple[int, ...], least: int = 0) -> None:
    """Raise unless `values` is a tuple of `least` or more layer widths, each at least 1."""
    if not isinstance(values, tuple) or len(values) < least:
        number = f"{least} or more " if least else ""
        raise HypermnesiaError(f"{key}={values!r}: expected a tuple of {number}layer widths")
    for position, width in enumerate(values):
        check_count(f"{key}[{position}]", width)
