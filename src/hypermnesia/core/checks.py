"""Checks of what functions are called with; options are held against their declared types (`core.declared`)."""

from hypermnesia.core.errors import HypermnesiaError


def check_count(key: str, value: int, least: int = 1) -> None:
    """Raise unless `value` is a whole number of at least `least`; `key` is how the caller says it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise HypermnesiaError(f"{key}={value!r}: expected a whole number, at least {least}")
