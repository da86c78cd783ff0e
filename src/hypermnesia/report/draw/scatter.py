"""Named points of two quantities: accuracy against a cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from markupsafe import Markup

from hypermnesia.core.units import tick
from hypermnesia.report.draw import colours
from hypermnesia.report.draw.svg import WIDTH, Frame, el, fitted, line, picture, text

_LINE, _LETTER = 13.0, 6.2  # pixels that a name needs in height, and each of its letters in width


@dataclass(frozen=True)
class Point:
    """`half_width`: of the interval of y; `tip` shows under the pointer."""

    label: str
    x: float
    y: float
    half_width: float | None
    index: int
    tip: str


def scatter(
    points: Sequence[Point],
    label: str,
    x_label: str,
    y_label: str,
    *,
    limits: tuple[float, float] | None = None,
    x_format: Callable[[float], str] = tick,
    height: float = 300,
) -> Markup:
    """Points, named where there is room. x is logarithmic if it is positive and spans more than a factor of 30."""
    xs = [point.x for point in points]
    log = min(xs) > 0 and max(xs) / min(xs) > 30
    bounds = [b for p in points for b in (p.y - (p.half_width or 0), p.y + (p.half_width or 0))]
    bottom, right = height - 42, WIDTH - 12
    x = fitted(xs, 50, right, log=True) if log else fitted(xs, 50, right, low=0.0)
    frame = Frame(x, fitted(bounds, bottom, 28, limits=limits))
    parts = [frame.axes(f"{x_label}{', logarithmic' if log else ''}", y_label, x_format=x_format)]
    for point in points:
        at, half = frame.x(point.x), point.half_width
        look = colours.series_class(point.index)
        whisker = []
        if half:
            ends = [min(bottom, max(28.0, frame.y(value))) for value in (point.y - half, point.y + half)]
            whisker = [line(at, ends[0], at, ends[1], "whisker")]
        parts.append(
            el("g", *whisker, colours.mark(at, frame.y(point.y), point.index, point.tip), class_=look)
        )
    parts += _names([(p.label, frame.x(p.x), frame.y(p.y)) for p in points], bottom)
    return picture(WIDTH, height, label, *parts)


def _names(places: Sequence[tuple[str, float, float]], bottom: float) -> list[Markup]:
    """A name beside each point where there is room for it, right or left, a little higher or lower."""
    parts: list[Markup] = []
    taken = [(x - 5, x + 5, y, _LINE / 2) for _, x, y in places]
    for name, x, y in sorted(places, key=lambda place: place[2]):
        width = _LETTER * len(name)
        for down, anchor in product((0.0, -4.0, 4.0, -9.0, 9.0), ("start", "end")):
            start, at = (x + 8 if anchor == "start" else x - 8), y + down
            left = start if anchor == "start" else start - width
            inside = left > 52 and left + width < WIDTH and 20 < at < bottom - 4
            if inside and all(left + width < a or left > b or abs(at - v) >= half for a, b, v, half in taken):
                taken.append((left, left + width, at, _LINE))
                parts.append(text(start, at + 4, name, anchor=anchor, kind="tick halo"))
                break
    return parts
