"""Checks of what functions are called with; options are held against their declared types (`core.declared`)."""

from numbers import Integral

from hypermnesia.core.errors import HypermnesiaError


def check_count(key: str, value: int, least: int = 1) -> None:
    """Raise unless `value` is a whole number of at least `least`; `key` is how the caller says it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise HypermnesiaError(f"{key}={value!r}: expected a whole number, at least {least}")


def check_seed(seed: int) -> int:
    """The seed as Python's integer, NumPy's too; raises unless a directory can be called after it, seed-K."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise HypermnesiaError(f"seed={seed!r}: expected a whole number from 0 to 2⁶³ − 1")
    return int(seed)
