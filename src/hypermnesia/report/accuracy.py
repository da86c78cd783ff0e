"""Sections on accuracy and cost: means with intervals, accuracy over time, accuracy matrices."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from markupsafe import Markup

from hypermnesia.core import units
from hypermnesia.evaluation.schema import Matrix, Result
from hypermnesia.evaluation.statistics import statistics
from hypermnesia.report.blocks import Block, Figure, Section, key, ordered_key
from hypermnesia.report.draw.heat import heat_map
from hypermnesia.report.draw.plots import Dot, Series, dots, lines
from hypermnesia.report.draw.svg import Scale
from hypermnesia.report.load import Group
from hypermnesia.report.summary import Column, Row, Summary, scenario_title

_FEW_TASKS = 10  # up to here a legend names every task and lines have markers
_AFTER_EACH = "Average accuracy after each task"
_FEW_MARKS = 20  # tasks up to which lines of averages have markers


def numbers(summary: Summary) -> Section:
    """Dot plots of the columns of the main table."""
    blocks = [
        _dot_block(
            summary,
            summary.worded("Average accuracy"),
            [f"{name}.average_accuracy" for name in summary.scenarios],
        ),
        _dot_block(summary, "Forgetting", [f"{name}.forgetting" for name in summary.scenarios]),
        _dot_block(
            summary,
            "Cost",
            [f"costs.{n}" for n in ("trainable_parameters", "stored_bytes", "train_seconds")],
        ),
    ]
    about = (
        "Means over the seeds; whiskers are 95 % intervals of the mean (Student's t). Forgetting: how far "
        "below its best each task ended, so lower is better, and below 0 later tasks helped."
    )
    title = summary.worded("Accuracy, forgetting and cost")
    return Section(title, about, [block for block in blocks if block.figures])


def _dot_block(summary: Summary, title: str, keys: Sequence[str]) -> Block:
    figures = []
    for name in keys:
        column = summary.column(name)
        rows = [
            Dot(
                row.group.label,
                column.scale * mean,
                _times(column.scale, found["ci95"]),
                summary.written(row, name),
                row.look,
            )
            for row in summary.rows
            if (mean := (found := row.statistics[name])["mean"]) is not None
        ]
        if not rows:
            continue
        figures.append(
            Figure(
                column.title,
                _costs(name, column, rows) if "costs." in name else _shares(summary, column, rows),
            )
        )
    return Block(title, figures)


def _shares(summary: Summary, column: Column, rows: Sequence[Dot]) -> Markup:
    if column.unit == "%":
        return dots(rows, column.title, summary.worded("accuracy (%)"), limits=summary.limits)
    low, high = summary.limits
    return dots(rows, column.title, "percentage points", limits=(min(low, -high), max(-low, high)))


def _costs(name: str, column: Column, rows: Sequence[Dot]) -> Markup:
    """Costs from 0, or on a logarithmic axis where they lie far apart."""
    largest, smallest = max(row.mean for row in rows), min(row.mean for row in rows)
    log = smallest > 0 and largest / smallest > 30
    axis, x_format = column.title.lower(), units.size_tick if name.endswith("bytes") else units.tick
    if name.endswith("seconds"):
        seconds, unit = time_unit(largest)
        rows = [
            replace(row, mean=row.mean / seconds, half_width=_times(1 / seconds, row.half_width))
            for row in rows
        ]
        axis += f" ({unit})"
    if log:
        return dots(rows, column.title, f"{axis}, logarithmic", log=True, x_format=x_format)
    return dots(rows, column.title, axis, low=0.0, x_format=x_format)


def time_unit(largest: float) -> tuple[int, str]:
    """Seconds of the unit that an axis up to `largest` seconds has, and its name."""
    return next(
        found for found in ((3600, "h"), (60, "min"), (1, "s")) if largest >= 2 * found[0] or found[0] == 1
    )


def _times(scale: float, value: float | None) -> float | None:
    return None if value is None else scale * value


def over_time(summary: Summary) -> Section:
    """Average accuracy after each task, every approach in one picture per scenario."""
    figures, marked, drawn = [], True, set[int]()
    for scenario in summary.scenarios:
        found = [(row, matrices) for row in summary.rows if (matrices := _matrices(row.group, scenario))]
        if not found:
            continue
        tasks = max(_tasks(row.group.first.result, matrices[0]) for row, matrices in found)
        averaged = [
            (row, _average_after_each(matrices, tasks, row.group.first.result.tests_are_classes))
            for row, matrices in found
        ]
        series = [
            Series(row.group.label, points, row.look, level=tasks > 1) for row, points in averaged if points
        ]
        if any(len(one.points) > 1 for one in series):
            drawn |= {row.look for row, points in averaged if points}
            marked = marked and tasks <= _FEW_MARKS
            label = summary.worded(f"{_AFTER_EACH}, {scenario_title(scenario)}")
            axes = ("tasks learned", summary.worded("average accuracy (%)"))
            picture = lines(
                series,
                label,
                *axes,
                limits=summary.limits,
                whole=True,
                marked=tasks <= _FEW_MARKS,
                height=280,
            )
            figures.append(Figure(scenario_title(scenario), picture))
    keys = [key(row.group.label, row.look, marked=marked) for row in summary.rows if row.look in drawn]
    about = (
        "Mean accuracy over the tasks learned so far; bands are 95 % intervals over the seeds. "
        "An approach that was evaluated only once, such as joint training, is a level line."
    )
    blocks = [Block("", figures, keys)] if figures else []
    return Section(summary.worded(_AFTER_EACH), summary.worded(about), blocks)


def _tasks(result: Result, matrix: Matrix) -> int:
    """Tasks of the stream."""
    return len(result.task_names) or max(len(matrix), len(matrix[0]))


def _average_after_each(
    matrices: Sequence[Matrix], tasks: int, by_class: bool
) -> list[tuple[float, float, float | None]]:
    """Points (tasks learned, mean, half width) in %, of a group's matrices; `by_class`: tests are not the tasks'."""
    rows = [_averages(matrix, by_class) for matrix in matrices]
    points = []
    for task in range(len(rows[0])):
        found = statistics([row[task] for row in rows])
        if found["mean"] is not None:
            # One row for several tests is joint training: it has seen all tasks.
            place = tasks if len(rows[0]) == 1 else task + 1
            points.append((float(place), 100 * found["mean"], _times(100, found["ci95"])))
    return points


def _averages(matrix: Matrix, by_class: bool = False) -> list[float | None]:
    """After each task the mean over the tests of the tasks so far, or of all classes; None while one of them is absent."""
    square = len(matrix) == len(matrix[0]) and not by_class
    averages: list[float | None] = []
    for task, row in enumerate(matrix):
        part = row[: task + 1] if square else [value for value in row if value is not None]
        known = [value for value in part if value is not None]
        averages.append(sum(known) / len(known) if known and len(known) == len(part) else None)
    return averages


def per_task(summary: Summary) -> Section:
    """Accuracy of every task over time: a picture per approach, a line per task."""
    blocks = []
    for scenario in summary.scenarios:
        figures: list[Figure] = []
        names: list[str] = []
        for row in summary.rows:
            matrices = _matrices(row.group, scenario)
            if matrices and len(matrices[0]) > 1:
                own = names_of_tests(row.group.first.result, len(matrices[0][0]))
                names = own if len(own) > len(names) else names
                figures += _lines_of_tests(summary, row.group.label, mean_matrix(matrices), own)
        if figures:
            total = len(names)
            marked = total <= _FEW_TASKS
            shown = range(total) if marked else (0, total // 2, total - 1)
            keys = [ordered_key(names[test], test, total, marked=marked) for test in shown]
            blocks.append(
                Block(scenario_title(scenario), figures, keys, collapsed=scenario != summary.primary)
            )
    about = "Mean over the seeds of the accuracy on each test set, from its first evaluation to the end."
    return Section(summary.worded("Accuracy of every task over time"), summary.worded(about), blocks)


def _lines_of_tests(
    summary: Summary, label: str, mean: list[list[float | None]], names: Sequence[str]
) -> list[Figure]:
    """One figure with a line per test set; none if no test set was looked at twice."""
    few = len(names) <= _FEW_TASKS
    series = []
    for test, name in enumerate(names):
        column = [(float(t + 1), row[test]) for t, row in enumerate(mean)]
        points = [(t, 100 * value, None) for t, value in column if value is not None]
        if points:
            series.append(Series(name, points, order=(test, len(names)), thin=not few))
    if not any(len(one.points) > 1 for one in series):
        return []
    spoken = summary.worded(f"Accuracy of every test over time, {label}")
    y = None if summary.benchmark.numbers else Scale(0, 100, 188, 28)
    axes = ("tasks learned", summary.worded("accuracy (%)"))
    picture = lines(series, spoken, *axes, y=y, limits=summary.limits, whole=True, marked=few, height=230)
    return [Figure(label, picture)]


def matrices(summary: Summary) -> Section:
    """Accuracy matrices as heat maps."""
    blocks = []
    for scenario in summary.scenarios:
        figures = [
            figure for row in summary.rows if (figure := _matrix_figure(summary, row, scenario)) is not None
        ]
        if figures:
            blocks.append(
                Block(scenario_title(scenario), figures, scale=True, collapsed=scenario != summary.primary)
            )
    about = "Row: after learning that task. Column: accuracy on that test set in %, mean over the seeds."
    return Section(summary.worded("Accuracy matrices"), summary.worded(about), blocks)


def _matrix_figure(summary: Summary, row: Row, scenario: str) -> Figure | None:
    found = _matrices(row.group, scenario)
    if not found:
        return None
    mean = mean_matrix(found)
    if all(value is None for line in mean for value in line):
        return None
    result = row.group.first.result
    square = len(mean) == len(mean[0]) and not result.tests_are_classes
    tests = names_of_tests(result, len(mean[0]))
    rows = (
        ["all tasks"] if len(mean) == 1 and not square else names_of_tasks(result, len(mean), numbered=True)
    )
    columns = [str(i + 1) for i in range(len(tests))] if square or rows == ["all tasks"] else tests
    spoken = summary.worded(f"Accuracy matrix of {row.group.label}")
    picture = heat_map(mean, spoken, rows, columns, "after", "tested on")
    return Figure(row.group.label, picture)


def _matrices(group: Group, scenario: str) -> list[Matrix]:
    """The matrices of the seeds that have one in this scenario; all have the same shape."""
    scenarios = [seed.result.scenarios.get(scenario) for seed in group.seeds]
    return [found.matrix for found in scenarios if found is not None and found.matrix]


def mean_matrix(found: Sequence[Matrix]) -> list[list[float | None]]:
    """The mean of matrices of one shape, entry by entry over those that have it; None where none has."""
    stack = np.array(found, dtype=float)  # None becomes NaN
    present = ~np.isnan(stack)
    counts = present.sum(0)
    sums = np.where(present, stack, 0.0).sum(0)
    return [
        [float(s / n) if n else None for s, n in zip(*pair, strict=True)]
        for pair in zip(sums, counts, strict=True)
    ]


def names_of_tasks(result: Result, total: int, *, numbered: bool = False) -> list[str]:
    """Names of `total` tasks; "task 3" where the run did not say. `numbered` puts numbers before names."""
    if len(result.task_names) != total:
        return [f"task {i + 1}" for i in range(total)]
    return [f"{i + 1} · {name}" if numbered else name for i, name in enumerate(result.task_names)]


def names_of_tests(result: Result, total: int) -> list[str]:
    """Names of `total` test sets, one per task or, in streams with repetition, one per class."""
    by_class = result.tests_are_classes or total != len(result.task_names)
    if by_class and total == len(result.class_names):
        return list(result.class_names)
    return names_of_tasks(result, total)
