"""The section that a page opens with: what accuracy costs."""

from dataclasses import replace

from hypermnesia.core import units
from hypermnesia.report.accuracy import time_unit
from hypermnesia.report.blocks import Block, Figure, Section, key
from hypermnesia.report.draw.scatter import Point, scatter
from hypermnesia.report.summary import SCENARIO_NAMES, Summary, scenario_title


def accuracy_and_cost(summary: Summary) -> Section:
    """Accuracy against storage and against time, a picture of each for every scenario."""
    blocks = []
    for scenario in summary.scenarios:
        drawn = (_against(summary, scenario, cost) for cost in ("stored_bytes", "train_seconds"))
        figures = [figure for figure in drawn if figure is not None]
        if figures:
            keys = [key(row.group.label, row.look) for row in summary.rows]
            blocks.append(
                Block(scenario_title(scenario), figures, keys, collapsed=scenario != summary.primary)
            )
    higher = "nearer to the numbers" if summary.benchmark.numbers else "more accurate"
    about = (
        f"Higher is {higher}, further left is cheaper: nothing is better than what has no point above and to its left. "
        "Stored is all that is kept between tasks: weights, memories, statistics."
    )
    return Section(summary.worded("Accuracy and what it costs"), about, blocks)


def _against(summary: Summary, scenario: str, cost: str) -> Figure | None:
    """None where fewer than two approaches have both numbers. Bounds far above or below the others are left out."""
    of, over = f"{scenario}.average_accuracy", f"costs.{cost}"
    found = [row.statistics[of]["mean"] for row in summary.rows if row.bound is None]
    known = [mean for mean in found if mean is not None] or [0.0, 1.0]
    margin = max(known) - min(known) or 0.05
    points, beyond = [], []
    for row in summary.rows:
        y, x, half = row.statistics[of]["mean"], row.statistics[over]["mean"], row.statistics[of]["ci95"]
        if x is None or y is None:
            continue
        if row.bound and not min(known) - margin <= y <= max(known) + margin:
            beyond.append(f"{row.group.label}, {summary.written(row, of)} %")
        else:
            tip = f"{row.group.label}: {summary.written(row, of)} %, {summary.written(row, over)}"
            wide = None if half is None else 100 * half
            points.append(Point(row.group.label, x, 100 * y, wide, row.look, tip))
    if len(points) < 2:
        return None
    axis, title, x_format = "stored", "Accuracy against storage", units.size_tick
    if cost == "train_seconds":
        seconds, unit = time_unit(max(point.x for point in points))
        points = [replace(point, x=point.x / seconds) for point in points]
        axis, title, x_format = f"training time ({unit})", "Accuracy against training time", units.tick
    title, y_axis = summary.worded(title), summary.worded("accuracy (%)")
    spoken = f"{title}, {SCENARIO_NAMES.get(scenario, scenario)}"
    picture = scatter(points, spoken, axis, y_axis, limits=summary.limits, x_format=x_format)
    return Figure(title, picture, remark=f"Beyond the picture: {' and '.join(beyond)}." if beyond else "")
