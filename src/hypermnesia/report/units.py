"""Numbers as a reader wants them: percentages, SI counts, decimal bytes, clock time. `MISSING` stands for null."""

import math
import re
from collections.abc import Callable

MISSING = "–"


def percent(fraction: float | None, decimals: int = 2, signed: bool = False) -> str:
    """0.9421 -> "94.21". The % sign belongs into the header."""
    if fraction is None:
        return MISSING
    text = f"{100 * fraction:+.{decimals}f}" if signed else f"{100 * fraction:.{decimals}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{decimals}f}"


def interval(mean: float | None, half_width: float | None, signed: bool = False) -> str:
    """Fractions 0.9421 and 0.003 -> "94.21 ± 0.30"; without an interval (one seed) the mean alone."""
    text = percent(mean, signed=signed)
    return text if mean is None or half_width is None else f"{text} ± {percent(half_width)}"


def count(value: float | None) -> str:
    """1_234_567 -> "1.23 M"."""
    return _scaled(value, ("", "k", "M", "G", "T"), 3)


def size(value: float | None) -> str:
    """Bytes in decimal units: 4_100_000 -> "4.10 MB"."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"), 3)


def duration(seconds: float | None) -> str:
    """0.0213 -> "21.3 ms", 75 -> "1 min 15 s", 3780 -> "1 h 03 min"."""
    if seconds is None:
        return MISSING
    if seconds < 0 or seconds >= 1e9:
        return f"{seconds:.2e} s"
    if 0 < seconds < 0.9995:
        return f"{_significant(1000 * seconds, 3)} ms"
    if seconds < 59.95:
        return f"{_significant(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def plain(value: float | None) -> str:
    """Three significant digits without a unit: 0.01234 -> "0.0123", 12345 -> "12345"."""
    if value is None:
        return MISSING
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return _significant(value, 3).replace("-", "−")


def _scaled(value: float | None, suffixes: tuple[str, ...], digits: int) -> str:
    if value is None:
        return MISSING
    power = 0
    scaled = value
    while abs(scaled) >= 999.5 and power < len(suffixes) - 1:
        scaled, power = scaled / 1000, power + 1
    if abs(scaled) >= 1e6:
        return f"{value:.2e} {suffixes[0]}".rstrip()
    text = f"{scaled:.0f}" if power == 0 and float(scaled).is_integer() else _significant(scaled, digits)
    return f"{text} {suffixes[power]}".rstrip()


def _significant(value: float, digits: int) -> str:
    """`digits` significant digits, trailing zeros kept, never in scientific notation."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def tick(unit: Callable[[float | None], str]) -> Callable[[float], str]:
    """`unit` for round values on an axis: "2 MB" instead of "2.00 MB"."""
    return lambda value: re.sub(r"\.0+(?=\D|$)", "", unit(value))
