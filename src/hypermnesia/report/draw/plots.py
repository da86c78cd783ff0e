"""Lines with bands, dots with intervals, bars, columns and maps of numbered points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hypermnesia.core.units import plain, tick
from hypermnesia.report.draw import colours
from hypermnesia.report.draw.svg import (
    WIDTH,
    Frame,
    Scale,
    clip,
    el,
    fitted,
    line,
    path,
    picture,
    text,
    tick_labels,
    whole_ticks,
)


@dataclass(frozen=True)
class Series:
    """A curve: points (x, y, half width of the interval or None) in ascending x.

    `index` chooses colour, dash and marker; `order` = (position, total) colours by rank instead. `level`
    draws a single point as a level line that ends there.
    """

    name: str
    points: Sequence[tuple[float, float, float | None]]
    index: int = 0
    order: tuple[int, int] | None = None
    thin: bool = False
    level: bool = False

    @property
    def look(self) -> dict[str, object]:
        if self.order is not None:
            return {"style": colours.in_order(*self.order)}
        return {"class_": colours.series_class(self.index)}


@dataclass(frozen=True)
class Dot:
    """A row of a dot plot: its mean with the half width of its interval, and how it is written."""

    label: str
    mean: float
    half_width: float | None
    shown: str
    index: int


def lines(
    series: Sequence[Series],
    label: str,
    x_label: str,
    y_label: str,
    *,
    y: Scale | None = None,
    limits: tuple[float, float] | None = None,
    y_format: Callable[[float], str] = tick,
    whole: bool = False,
    marked: bool = True,
    marks: Sequence[float] = (),
    height: float = 230,
) -> Markup:
    """Curves over a common x. `limits` bound the y axis. `whole`: x counts things from 1. `marked`:
    points carry markers with tooltips, as single points always do. `marks`: places on x with an upright line.
    """
    xs = [x for one in series for x, _, _ in one.points]
    low, high = min(xs), max(xs)
    right = WIDTH - 12
    x = Scale(low, high, 50, right) if high > low else Scale(low - 0.5, high + 0.5, 50, right)
    bottom = height - 42
    values = [
        bound for one in series for _, v, half in one.points for bound in (v - (half or 0), v + (half or 0))
    ]
    frame = Frame(x, y or fitted(values, bottom, 28, limits=limits))
    ticks = whole_ticks(int(low), int(high)) if whole else None
    parts = [frame.axes(x_label, y_label, x_ticks=ticks, y_format=y_format)]
    parts += [line(x(at), bottom, x(at), 28, "boundary") for at in marks if low <= at <= high]
    parts += [_curve(one, frame, marked or len(one.points) == 1) for one in series]
    return picture(WIDTH, height, label, *parts)


def _curve(series: Series, frame: Frame, marked: bool) -> Markup:
    points = [(frame.x(x), frame.y(y)) for x, y, _ in series.points]
    dash = colours.dash(series.index, marked=marked)
    parts = []
    banded = [(x, y, half) for x, y, half in series.points if half is not None]
    if len(banded) > 1 and len(banded) == len(points):
        above = [(frame.x(x), max(frame.y.end, frame.y(y + half))) for x, y, half in banded]
        below = [(frame.x(x), min(frame.y.start, frame.y(y - half))) for x, y, half in reversed(banded)]
        parts.append(el("path", d=path(above + below) + "Z", class_="band"))
    if len(points) > 1:
        kind = "curve thin" if series.thin else "curve"
        title = el("title", series.name)
        parts.append(el("path", title, d=path(points), class_=kind, stroke_dasharray=dash))
    elif series.level:
        end, level = points[0]
        parts.append(line(frame.x.start, level, end, level, "curve", stroke_dasharray=dash))
    if marked:
        for (px, py), (x, y, half) in zip(points, series.points, strict=True):
            around = "" if half is None else f" ± {plain(half)}"
            parts.append(colours.mark(px, py, series.index, f"{series.name}, {x:g}: {plain(y)}{around}"))
    return el("g", *parts, **series.look)


def dots(
    rows: Sequence[Dot],
    label: str,
    axis: str,
    *,
    log: bool = False,
    low: float | None = None,
    limits: tuple[float, float] | None = None,
    x_format: Callable[[float], str] = tick,
) -> Markup:
    """One row per approach: label and number above, the mean and its interval on a common axis below them.

    The axis starts at `low`, or wherever the rows need it to within `limits`; intervals are cut at its ends.
    """
    step, top = 36, 4
    bottom = top + step * len(rows) + 4
    bounds = [b for row in rows for b in (row.mean - (row.half_width or 0), row.mean + (row.half_width or 0))]
    positive = [row.mean for row in rows]
    x = fitted(positive if log else bounds, 8, WIDTH - 14, low=low, limits=limits, log=log)
    parts: list[Markup] = []
    parts += [line(x(value), top, x(value), bottom, "grid") for value in x.ticks()]
    parts += tick_labels(x.ticks(), x, bottom + 16, x_format)
    parts.append(line(x.start, bottom, x.end, bottom, "rule"))
    parts.append(text(WIDTH / 2, bottom + 34, axis, anchor="middle", kind="axis"))
    for position, row in enumerate(rows):
        base = top + step * position
        room = WIDTH - 16 - 7.2 * len(row.shown)
        parts.append(
            el("g", el("title", row.label), text(8, base + 13, clip(row.label, room), kind="name halo"))
        )
        parts.append(text(WIDTH - 8, base + 13, row.shown, anchor="end", kind="name halo"))
        parts.append(_dot(row, x, base + 24))
    return picture(WIDTH, bottom + 42, label, *parts)


def _dot(row: Dot, x: Scale, y: float) -> Markup:
    parts = [line(x.start, y, x.end, y, "guide")]
    if row.half_width:
        low, high = (min(x.end, max(x.start, x(v))) if _fits(v, x) else x.start for v in _ends(row))
        parts.append(line(low, y, high, y, "whisker"))
        parts += [line(end, y - 4, end, y + 4, "whisker") for end in (low, high)]
    parts.append(colours.mark(x(row.mean), y, row.index, f"{row.label}: {row.shown}"))
    return el("g", *parts, class_=colours.series_class(row.index))


def _ends(row: Dot) -> tuple[float, float]:
    return row.mean - (row.half_width or 0), row.mean + (row.half_width or 0)


def _fits(value: float, x: Scale) -> bool:
    return not x.log or value > 0


def bars(rows: Sequence[tuple[str, float, str]], label: str, axis: str) -> Markup:
    """Rows of (label, value from 0, written value) as horizontal bars, the label above its bar."""
    step, top = 34, 4
    bottom = top + step * len(rows) + 4
    x = fitted([value for _, value, _ in rows], 8, WIDTH - 14, low=0.0)
    parts: list[Markup] = []
    for position, (name, value, shown) in enumerate(rows):
        base = top + step * position
        room = WIDTH - 16 - 7.2 * len(shown)
        parts.append(el("g", el("title", name), text(8, base + 13, clip(name, room), kind="name")))
        parts.append(text(WIDTH - 8, base + 13, shown, anchor="end", kind="name"))
        parts.append(el("rect", x=8.0, y=base + 18.0, width=WIDTH - 22.0, height=8.0, class_="trough"))
        parts.append(el("rect", x=8.0, y=base + 18.0, width=x(value) - x.start, height=8.0, class_="bar"))
    for value in x.ticks():
        parts.append(text(x(value), bottom + 14, tick(value), anchor="middle", kind="tick"))
    parts.append(text(WIDTH / 2, bottom + 32, axis, anchor="middle", kind="axis"))
    return picture(WIDTH, bottom + 40, label, *parts)


def point_map(
    points: Sequence[tuple[float, float]], names: Sequence[str], label: str, x_label: str, y_label: str
) -> Markup:
    """Ordered, numbered points in a plane with equal scales on both axes."""
    size = WIDTH - 62.0
    spans = [(min(values), max(values)) for values in zip(*points, strict=True)]
    half = max(max(high - low for low, high in spans) / 2, 1e-12) * 1.2
    (left, right), (low, high) = ((sum(span) / 2 - half, sum(span) / 2 + half) for span in spans)
    frame = Frame(Scale(left, right, 50, 50 + size), Scale(low, high, 28 + size, 28))
    parts = [frame.axes(x_label, y_label)]
    numbered = len(points) <= 30
    for position, ((x, y), name) in enumerate(zip(points, names, strict=True)):
        tip = f"{name}: {plain(x)}, {plain(y)}"
        style = colours.in_order(position, len(points))
        children = [colours.mark(frame.x(x), frame.y(y), 0, tip)]
        if numbered:
            children.append(text(frame.x(x) + 7, frame.y(y) - 5, str(position + 1), kind="name halo"))
        parts.append(el("g", *children, style=style))
    return picture(WIDTH, size + 70, label, *parts)


def columns(names: Sequence[str], values: Sequence[int], label: str, x_label: str, y_label: str) -> Markup:
    """Upright columns from 0, under their names, or numbered from 1 where the names are too long for that."""
    height = 200.0
    x = Scale(0.5, len(values) + 0.5, 50, WIDTH - 12)
    frame = Frame(x, fitted(values, height - 42, 28, low=0.0))
    thick = max(1.0, (x(2) - x(1)) * 0.8)
    fit = all(7 * len(name) <= x(2) - x(1) for name in names)
    ticks = [float(number) for number in range(1, len(values) + 1)] if fit else whole_ticks(1, len(values))

    def shown(number: float) -> str:
        return names[int(number) - 1] if fit else tick(number)

    parts = [frame.axes(x_label, y_label, x_ticks=ticks, x_format=shown, y_whole=True)]
    for position, (name, value) in enumerate(zip(names, values, strict=True), start=1):
        top = frame.y(value)
        place = {"x": x(position) - thick / 2, "y": top, "width": thick, "height": frame.y.start - top}
        parts.append(el("rect", el("title", f"{name}: {value}"), class_="bar", **place))
    return picture(WIDTH, height, label, *parts)
