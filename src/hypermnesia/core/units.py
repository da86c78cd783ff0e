"""Numbers as a reader wants them: percentages, SI counts, decimal bytes, clock time."""

import math
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


def count(value: float | None, like: float | None = None) -> str:
    """1_234_567 -> "1.23 M". `like`: in the unit and to the decimals of this other value."""
    return _scaled(value, ("", "k", "M", "G", "T"), like)


def size(value: float | None, like: float | None = None) -> str:
    """Bytes in decimal units: 4_100_000 -> "4.10 MB"."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"), like)


def duration(value: float | None, like: float | None = None) -> str:
    """Seconds: 0.0213 -> "21.3 ms", 7.5 -> "7.50 s", 75 -> "1 min 15 s", 3780 -> "1 h 03 min"."""
    if value is None:
        return MISSING
    scale = value if like is None else like
    if scale >= 1e9:
        return f"{value:.2e} s"
    if 0 < scale < 0.9995:
        return f"{1000 * value:.{_decimals(1000 * scale)}f} ms"
    if scale < 59.95 or value == 0:
        return f"{value:.{_decimals(scale)}f} s"
    minutes, rest = divmod(round(value), 60)
    hours, whole = divmod(minutes, 60)
    if hours:
        return f"{hours} h {whole:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def spread(unit: Callable[[float | None, float | None], str], mean: float | None, half: float | None) -> str:
    """A mean and the half width of its interval in one unit, "13.8 ± 0.7 s"; or the mean alone."""
    shown = unit(mean, None)
    if mean is None or not half:
        return shown
    number, _, suffix = shown.rpartition(" ")
    around = unit(half, mean)
    once = suffix.isalpha() and " " not in number and around.endswith(f" {suffix}")
    return f"{number if once else shown} ± {around}"


def plain(value: float | None) -> str:
    """Three significant digits without a unit: 0.01234 -> "0.0123", 12345 -> "12345"."""
    if value is None:
        return MISSING
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:.{_decimals(value)}f}".replace("-", "−")


def _scaled(value: float | None, suffixes: tuple[str, ...], like: float | None) -> str:
    if value is None:
        return MISSING
    scale, power = value if like is None else like, 0
    while abs(scale) >= 999.5 and power < len(suffixes) - 1:
        scale, power = scale / 1000, power + 1
    if abs(scale) >= 1e6:
        return f"{value:.2e} {suffixes[0]}".rstrip()
    decimals = 0 if power == 0 and float(scale).is_integer() else _decimals(scale)
    return f"{value / 1000**power:.{decimals}f} {suffixes[power]}".rstrip()


def _decimals(value: float, digits: int = 3) -> int:
    """Decimals that show `digits` significant digits of a value, never in scientific notation."""
    return 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))


def tick(value: float) -> str:
    """A round number on an axis: 20.0 -> "20", 25000 -> "25k", 0.0005 -> "0.0005"."""
    power = 0 if abs(value) < 1e4 or abs(value) >= 1e15 else min(int(math.log10(abs(value))) // 3, 4)
    return f"{value / 1000**power:.6g}{('', 'k', 'M', 'G', 'T')[power]}".replace("-", "−")


def size_tick(value: float) -> str:
    """A round number of bytes on an axis: 2e6 -> "2 MB"."""
    power = 0 if value < 1e3 or value >= 1e18 else min(int(math.log10(value) + 1e-9) // 3, 4)
    return f"{value / 1000**power:.6g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
