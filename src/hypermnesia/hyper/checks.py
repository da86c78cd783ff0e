"""Checks of the ranges of generator options. `key` is the field as it is written on the command line."""

from collections.abc import Iterable
from math import isfinite

from hypermnesia.errors import HypermnesiaError, unknown


def check_count(key: str, value: int, least: int = 1) -> None:
    """Raise unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise HypermnesiaError(f"{key}={value!r}: expected a whole number, at least {least}")


def check_widths(key: str, values: tuple[int, ...], least: int = 0) -> None:
    """Raise unless `values` is a tuple of `least` or more layer widths, each at least 1."""
    if not isinstance(values, tuple) or len(values) < least:
        number = f"{least} or more " if least else ""
        raise HypermnesiaError(f"{key}={values!r}: expected a tuple of {number}layer widths")
    for position, width in enumerate(values):
        check_count(f"{key}[{position}]", width)


def check_not_negative(key: str, value: float) -> None:
    """Raise unless `value` is a finite number of at least 0."""
    if not (isfinite(value) and value >= 0):
        raise HypermnesiaError(f"{key}={value!r}: expected a finite number, at least 0")


def check_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise unknown(key, str(value), choices)
