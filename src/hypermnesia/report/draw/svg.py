"""Scalable pictures in few lines: escaped elements, scales with round ticks, and axes. Colours come from CSS.

Every text that reaches a picture goes through `el`, which escapes it. Lengths are CSS pixels of a picture at
its natural width, 340 at most, so that text keeps its size on a phone of 360.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from hypermnesia.core.units import tick as tick_text

WIDTH = 340
"""The natural width of a picture."""
_TICK_LETTER = 6.0  # pixels, about


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """One element. Children and attribute values are escaped unless they are Markup; `class_` and
    `stroke_width` stand for `class` and `stroke-width`; attributes that are None are left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{''.join(map(escape, children))}</{tag}>")


def _value(value: object) -> str:
    """An attribute's value, escaped; numbers to a hundredth of a pixel."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(value)


def text(
    x: float, y: float, words: object, *, anchor: str = "start", kind: str | None = None, **more: object
) -> Markup:
    """A line of text with its baseline at (x, y); `kind` is a CSS class."""
    return el("text", words, x=float(x), y=float(y), text_anchor=anchor, class_=kind, **more)


def line(x1: float, y1: float, x2: float, y2: float, kind: str, **more: object) -> Markup:
    return el("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=kind, **more)


def picture(width: float, height: float, label: str, *children: object) -> Markup:
    """A whole picture that shrinks with its container; `label` is what a screen reader says."""
    return el(
        "svg",
        *children,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=label,
    )


def clip(words: str, width: float, size: float = 12) -> str:
    """`words` cut with an ellipsis to about `width` pixels at a font size of `size` pixels."""
    most = max(2, int(width / (0.56 * size)))
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` mapped to pixels from `start` to `end`, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values inside the scale: 1, 2 or 5 times powers of ten; on a long log scale the powers."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = _step(self.low, self.high, most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def fitted(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    low: float | None = None,
    limits: tuple[float, float] | None = None,
    log: bool = False,
) -> Scale:
    """A scale around `values` whose ends are round. `low` is its lower end; `limits` are bounds that it
    does not pass; a log scale has neither and needs positive values."""
    smallest = min(values, default=0.0) if low is None else low
    largest = max(values, default=1.0)
    if log:
        return Scale(smallest / 1.25, largest * 1.25, start, end, log=True)
    if largest - smallest <= max(
        1e-100, 1e-12 * max(abs(largest), abs(smallest))
    ):  # all the same but for rounding
        margin = abs(largest) / 10 or 1.0
        smallest, largest = (smallest if low is not None else smallest - margin), largest + margin
    step = _step(smallest, largest, 5)
    bottom, top = math.floor(smallest / step + 1e-9) * step, math.ceil(largest / step - 1e-9) * step
    if limits is not None:
        bottom, top = max(bottom, limits[0]), min(top, limits[1])
    return Scale(bottom, top, start, end)


def _step(low: float, high: float, most: int) -> float:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(round_ for round_ in (1, 2, 5, 10) if round_ * power >= rough * (1 - 1e-9))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]


@dataclass(frozen=True)
class Frame:
    """A plot area inside a picture with its two scales."""

    x: Scale
    y: Scale

    def axes(
        self,
        x_label: str,
        y_label: str,
        *,
        x_ticks: Sequence[float] | None = None,
        y_whole: bool = False,
        x_format: Callable[[float], str] = tick_text,
        y_format: Callable[[float], str] = tick_text,
    ) -> Markup:
        """Grid lines, tick labels and axis labels; the y label stands level above its axis."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = [text(left, top - 12, y_label, kind="axis")]
        for value in self.y.ticks():
            if y_whole and not float(value).is_integer():
                continue
            parts.append(line(left, self.y(value), right, self.y(value), "grid"))
            parts.append(text(left - 6, self.y(value) + 4, y_format(value), anchor="end", kind="tick"))
        parts.append(line(left, bottom, right, bottom, "rule"))
        values = self.x.ticks() if x_ticks is None else x_ticks
        parts += [line(self.x(value), bottom, self.x(value), bottom + 4, "rule") for value in values]
        parts += tick_labels(values, self.x, bottom + 16, x_format)
        parts.append(text((left + right) / 2, bottom + 34, x_label, anchor="middle", kind="axis"))
        return Markup("").join(parts)


def tick_labels(
    values: Sequence[float], x: Scale, y: float, x_format: Callable[[float], str] = tick_text
) -> list[Markup]:
    """The labels of an axis, but for those that would lie on the one before."""
    parts, end = [], -math.inf
    for value in values:
        words, at = x_format(value), x(value)
        half = _TICK_LETTER * len(words) / 2
        if at - half > end:
            parts.append(text(at, y, words, anchor="middle", kind="tick"))
            end = at + half + _TICK_LETTER
    return parts


def whole_ticks(first: int, last: int, most: int = 10) -> list[float]:
    """Whole numbers from `first` to `last`: all if there is room, else the first and multiples of 5, 10…"""
    if last - first + 1 <= most:
        return [float(value) for value in range(first, last + 1)]
    step = next(
        s * 10**power for power in range(100) for s in (5, 10, 20) if (last - first) / (s * 10**power) <= most
    )
    return [float(first), *(float(v) for v in range(-(-(first + 1) // step) * step, last + 1, step))]


def path(points: Sequence[tuple[float, float]]) -> str:
    """The `d` of straight lines through pixel positions."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
