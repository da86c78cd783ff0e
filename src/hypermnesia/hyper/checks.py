"""Checks of the ranges of generator options, beside those of `hypermnesia.checks`."""

from hypermnesia.checks import check_count
from hypermnesia.errors import HypermnesiaError


def check_widths(key: str, values: tuple[int, ...], least: int = 0) -> None:
    """Raise unless `values` is a tuple of `least` or more layer widths, each at least 1."""
    if not isinstance(values, tuple) or len(values) < least:
        number = f"{least} or more " if least else ""
        raise HypermnesiaError(f"{key}={values!r}: expected a tuple of {number}layer widths")
    for position, width in enumerate(values):
        check_count(f"{key}[{position}]", width)
