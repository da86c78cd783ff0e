"""What a search found: which settings mattered, how the best value came about, all trials at a glance."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from hypermnesia.core.units import plain, tick
from hypermnesia.evaluation.schema import LARGEST, Sweep, Trial
from hypermnesia.report.draw import colours
from hypermnesia.report.draw.plots import bars
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
    whole_ticks,
)

_BINS = 4
_FEWEST_TRIALS = 8
_SHOWN_CHOICES = 12


def done(sweep: Sweep) -> list[tuple[Trial, float]]:
    """The complete trials with their values, in order of their numbers."""
    found = [(t, t.value) for t in sweep.trials if t.state == "complete" and t.value is not None]
    return sorted(found, key=lambda pair: pair[0].number)


def maximises(sweep: Sweep) -> bool:
    """Whether larger is better. A file that does not say is read by its winner: not if it has the smallest value alone."""
    if sweep.maximise is not None:
        return sweep.maximise
    values = {trial.number: value for trial, value in done(sweep)}
    if sweep.best not in values:
        return True
    return values[sweep.best] == max(values.values()) or values[sweep.best] != min(values.values())


def shown(value: Any) -> str:
    """A setting as one would type it."""
    if isinstance(value, str):
        return value
    return plain(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def varied(sweep: Sweep) -> list[str]:
    """The settings that differ between trials, in the order of the space."""
    keys = dict.fromkeys([*sweep.space, *(key for trial in sweep.trials for key in trial.settings)])
    return [key for key in keys if len({shown(trial.settings.get(key)) for trial in sweep.trials}) > 1]


def importance(sweep: Sweep) -> list[tuple[str, float]]:
    """Settings by the share of the objective's variance over complete trials that each explains alone.

    Trials are put into bins by one setting: one bin per value, or quarters by rank where a number has more
    than five values. The share is ε² = 1 − (1 − η²)(n − 1)/(n − k) of k bins and n trials (Kelley 1935, PNAS
    21(9)), the ratio between-bin to total variance corrected for chance, and 0 where that is negative. It
    sees no interactions. Empty with fewer than eight complete trials, or when all their values are equal.
    """
    trials = done(sweep)
    values = np.array([value for _, value in trials])
    spread = float(np.abs(values - values.mean()).max()) if len(values) else 0.0
    if len(values) < _FEWEST_TRIALS or spread == 0:
        return []
    values = (values - values.mean()) / spread
    found = []
    for key in varied(sweep):
        bins = _bins([trial.settings.get(key) for trial, _ in trials])
        n, k = len(values), len(set(bins))
        if k < 2 or k >= n:
            found.append((key, 0.0))
            continue
        within = sum(((values[bins == one] - values[bins == one].mean()) ** 2).sum() for one in set(bins))
        unexplained = float(within / (values**2).sum())
        found.append((key, max(0.0, 1 - unexplained * (n - 1) / (n - k))))
    return sorted(found, key=lambda pair: -pair[1])


def _bins(settings: Sequence[Any]) -> np.ndarray:
    if all(_is_number(value) for value in settings) and len(set(settings)) > 5:
        numbers = np.array(settings, dtype=float)
        ranks = np.searchsorted(np.sort(numbers), numbers)  # equal values share a rank, hence a bin
        return ranks * _BINS // len(numbers)
    names = [shown(value) for value in settings]
    order = sorted(set(names))
    return np.array([order.index(name) for name in names])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def importance_plot(sweep: Sweep) -> Markup | None:
    found = importance(sweep)
    rows = [(key, 100 * share, f"{100 * share:.0f} %") for key, share in found]
    axis = "variance of the objective explained alone (%)"
    return bars(rows, "Importance of the settings", axis) if rows else None


def history_plot(sweep: Sweep) -> Markup | None:
    """Value of every complete trial by its number, the best so far as steps, other trials as crosses."""
    trials = done(sweep)
    if not trials:
        return None
    better = max if maximises(sweep) else min
    numbers = [trial.number for trial in sweep.trials]
    low, high = min(numbers), max(numbers)
    height, bottom = 240.0, 198.0
    x = Scale(low - 0.5, high + 0.5, 56, WIDTH - 10)
    frame = Frame(x, fitted([value for _, value in trials], bottom - 8, 30))
    steps: list[tuple[float, float]] = []
    so_far = trials[0][1]
    for trial, value in trials:
        steps.append((x(trial.number), frame.y(so_far)))
        so_far = better(so_far, value)
        steps.append((x(trial.number), frame.y(so_far)))
    steps.append((x.end, frame.y(so_far)))
    axes = Frame(x, Scale(frame.y.low, frame.y.high, bottom - 8, 30))
    parts = [
        axes.axes("trial", "objective", x_ticks=whole_ticks(low, high) if high > low else [float(low)]),
        el("path", d=path(steps), class_="curve s1"),
    ]
    parts += [_trial_mark(trial, value, x(trial.number), frame.y(value)) for trial, value in trials]
    for trial in sweep.trials:
        if trial.state != "complete":
            tip = el(
                "title", f"trial {trial.number}: {trial.state}{f', {trial.reason}' if trial.reason else ''}"
            )
            at = x(trial.number)
            parts.append(el("path", tip, d=f"M{at - 4:.1f} 34l8 8m0 -8l-8 8", class_="cross"))
    return picture(WIDTH, height, "Value of every trial and the best so far", *parts)


def _trial_mark(trial: Trial, value: float, x: float, y: float) -> Markup:
    settings = ", ".join(f"{key}={shown(chosen)}" for key, chosen in trial.settings.items())
    mark = colours.mark(x, y, 0, f"trial {trial.number}: {plain(value)} ({settings})")
    return el("g", mark, class_="s0")


def parallel_plot(sweep: Sweep) -> Markup | None:
    """An axis per setting and one for the objective, a line per complete trial; the best one stands out."""
    trials, keys = done(sweep), varied(sweep)
    if not trials or not keys:
        return None
    gap, left, top, bottom = 118.0, 46.0, 40.0, 250.0
    columns = [_axis([trial.settings.get(key) for trial, _ in trials], bottom, top) for key in keys]
    values = [value for _, value in trials]
    last = fitted(values, bottom, top)
    columns.append(([last(value) for value in values], [(last(at), tick(at)) for at in last.ticks()]))
    parts, places = [], [left + gap * position for position in range(len(columns))]
    ranked = sorted(range(len(trials)), key=lambda i: values[i], reverse=not maximises(sweep))
    for rank, i in enumerate(ranked):
        winner = trials[i][0].number == sweep.best
        points = [(x, column[0][i]) for x, column in zip(places, columns, strict=True)]
        tip = el("title", f"trial {trials[i][0].number}: {plain(values[i])}")
        style = None if winner else colours.in_order(rank, len(ranked))
        parts.append(
            el("path", tip, d=path(points), class_="curve best" if winner else "curve faint", style=style)
        )
    for x, name, (_, ticks) in zip(places, [*keys, "objective"], columns, strict=True):
        heading = el("g", el("title", name), text(x, 18, clip(name, gap - 8), anchor="middle", kind="name"))
        parts += [heading, line(x, top - 6, x, bottom + 6, "rule")]
        for y, words in ticks:
            parts += [line(x - 3, y, x + 3, y, "rule"), text(x + 6, y + 4, clip(words, 64), kind="tick halo")]
    return picture(places[-1] + 72, bottom + 16, "Settings and value of every complete trial", *parts)


def _axis(settings: Sequence[Any], bottom: float, top: float) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights of the settings on one axis, and its ticks. Choices stand evenly, wide ranges by logarithm."""
    if all(_is_number(value) for value in settings) and len(set(settings)) > 1:
        numbers = [float(value) for value in settings]
        low, high = min(numbers), max(numbers)
        scale = fitted(numbers, bottom, top, log=low > 0 and high / low > 30)
        places = sorted(set(numbers)) if len(set(numbers)) <= 4 else scale.ticks()
        return [scale(value) for value in numbers], [(scale(at), tick(at)) for at in places]
    names = [shown(value) for value in settings]
    order = list(dict.fromkeys(sorted(names)))
    gap = (bottom - top) / max(1, len(order) - 1)
    heights = {name: bottom - gap * position for position, name in enumerate(order)}
    every = math.ceil(len(order) / _SHOWN_CHOICES)
    return [heights[name] for name in names], [(heights[name], name) for name in order[::every]]
