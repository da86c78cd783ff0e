"""Results as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hypermnesia.commands.compare import Comparison
from hypermnesia.commands.reproduce import Reproduction
from hypermnesia.core import units
from hypermnesia.core.printable import printable
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.figures import COSTS, ERROR, METRICS, RETURNING, where_classes_return, worded
from hypermnesia.evaluation.statistics import statistics
from hypermnesia.report.summary import SCENARIO_NAMES, Column, Row, Summary
from hypermnesia.runs.predict import ClassAccuracy, Prediction

SOURCES = {
    "acc_gem": "mean of the last row (GEM, Lopez-Paz & Ranzato 2017)",
    "aia_lucir": "mean over time of the average accuracy so far (LUCIR, Hou et al. 2019)",
    "la_mer": "mean of the diagonal (MER, Riemer et al. 2019)",
    "forgetting_chaudhry18": "best earlier accuracy − last, Σ/(k−1) (RWalk, Chaudhry et al. 2018)",
    "forgetting_avalanche": "first − last, Σ/(k−1) (Avalanche; Hemati et al. 2023)",
    "bwt_gem": "last − first, Σ/(k−1) (GEM)",
    "fwt_gem": "before learning − untrained network, Σ/(k−1) (GEM)",
    "a_diaz": "mean of a[i][j], i ≥ j (Díaz-Rodríguez et al. 2018)",
    "bwt_all_pairs": "mean of a[i][j] − a[j][j], i > j (Díaz-Rodríguez et al. 2018; Continuum)",
    "bwt_plus": "the same, not below 0 (Díaz-Rodríguez et al. 2018)",
    "rem": "1 − its negative part (Díaz-Rodríguez et al. 2018)",
    "fwt_diaz": "mean of a[i][j], i < j (Díaz-Rodríguez et al. 2018)",
    "forgetting_mammoth": "best accuracy of all rows − last, Σ/(k−1) (Mammoth, PyCIL, PILOT)",
    "forgetting_libcontinual": "first − last without the last task but one, Σ/(k−1) (LibContinual)",
    "bwt_libcontinual": "bwt_all_pairs without neighbours, same divisor (LibContinual)",
    "fwt_no_baseline": "before learning, Σ/(k−1) (Continuum)",
}
"""Definition and source of every variant that `metrics.variants` gives."""


def plain_table(*columns: str, left: int = 1) -> Table:
    """An empty table; columns after the first `left` ones are set right and never broken."""
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", no_wrap=i >= left, overflow="fold")
    return table


def block(table: Table, title: str = "", note: str = "") -> Group:
    """A table with a title above and a note below it, each as wide as it needs."""
    parts = [Text(title, style="bold") if title else None, table, Text(note, style="dim") if note else None]
    return Group(*(part for part in parts if part is not None))


def scenario_title(name: str) -> str:
    """`class (class-incremental: …)` in words."""
    return SCENARIO_NAMES.get(name, name)


def summary(found: Mapping[str, Any]) -> Group:
    """Metrics by scenario of what `runs.summarise` gives: percentages, mean ± half of the 95 % interval."""
    names, seeds = list(found["scenarios"]), len(found["seeds"])
    numbers = any(ERROR.name in (scenario or {}) for scenario in found["scenarios"].values())
    table = plain_table("in %", *(scenario_title(name) for name in names))
    for figure in (*METRICS, *RETURNING, ERROR):
        cells = [(found["scenarios"][name] or {}).get(figure.name) or {} for name in names]
        if not any(cell.get("n") for cell in cells):
            continue
        if figure is ERROR:
            shown = (units.spread(figure.write, c.get("mean"), c.get("ci95")) for c in cells)
            table.add_row("mean absolute error, in its own units", *shown)
        else:
            shown = (units.interval(c.get("mean"), c.get("ci95"), figure.signed) for c in cells)
            table.add_row(_small(worded(figure.title, numbers)), *shown)
    return block(table, note=f"{seeds} seeds, {_INTERVAL}" if seeds > 1 else "")


def _small(title: str) -> str:
    """A title within a line: `average accuracy`, `average R²`."""
    return title[:1].lower() + title[1:]


_OVERSIZE = 10
"""Compression ratio from which on it is said how to have a smaller one."""
_INTERVAL = "± is half of the 95 % interval"


def costs(found: Mapping[str, Any]) -> Table:
    """What the run took, of the same summary."""
    table = plain_table("cost", "")
    for figure in COSTS:
        cell = found["costs"].get(figure.name) or {}
        if cell.get("mean") is not None:
            shown = units.spread(figure.write, cell["mean"], cell.get("ci95"))
            table.add_row(figure.title.lower(), shown)
    generator, target = (
        (found["costs"].get(f"{part}_parameters") or {}).get("mean") for part in ("generator", "target")
    )
    if generator is not None and target:
        ratio = generator / target
        hint = " (generator.compression=1.0: as large as it)" if ratio > _OVERSIZE else ""
        table.add_row("compression ratio, generator to target", f"{ratio:.3f}{hint}")
    return table


def matrix(
    rows: Sequence[Sequence[float | None]], title: str, width: int, names: Sequence[str] = ()
) -> Group:
    """An accuracy matrix in percent, a row for each task learned; the middle of a wide one is left out.

    `names`: of the tests, told below it.
    """
    tests = max(map(len, rows), default=0)
    columns = _fitting(tests, max(3, (width - 10) // (len(f"test {tests}") + 2)))
    heads = ["…" if i is None else f"test {i + 1}" for i in columns]
    table = plain_table("after", *heads)
    for t in _fitting(len(rows), 24):
        if t is None:
            table.add_row("…")
            continue
        cells = [
            "…" if i is None else _percent(rows[t][i]) if i < len(rows[t]) else units.MISSING for i in columns
        ]
        table.add_row(
            f"task {t + 1}",
            *(Text(c, style="bold" if i == t else "") for c, i in zip(cells, columns, strict=True)),
        )
    told = ["…" if i is None else f"test {i + 1}: {printable(names[i])}" for i in _fitting(len(names), 24)]
    return block(table, title, " · ".join(told))


def _percent(value: float | None) -> str:
    return units.percent(value, 1)


def _fitting(count: int, most: int) -> list[int | None]:
    """Indices of `count` things, with None for the middle where there are more than `most`."""
    if count <= most:
        return list(range(count))
    head = (most - 1) // 2
    return [*range(head), None, *range(count - (most - 1 - head), count)]


def variants(found: Mapping[str, float | None], title: str) -> Group:
    """What `metrics.variants` gives, each with its definition and source."""
    table = plain_table("variant", "in %", "definition and source")
    table.columns[2].justify, table.columns[2].no_wrap = "left", False
    for name, value in found.items():
        table.add_row(name, units.percent(value), SOURCES[name])
    return block(table, title)


def mean_matrix(matrices: Sequence[Sequence[Sequence[float | None]]]) -> list[list[float | None]]:
    """Entry by entry the mean over seeds, None where any is undefined; all matrices have one shape."""
    return [
        [
            None if None in cells else sum(c for c in cells if c is not None) / len(cells)
            for cells in zip(*rows, strict=True)
        ]
        for rows in zip(*matrices, strict=True)
    ]


def show_results(console: Console, results: Sequence[Mapping[str, Any]], with_variants: bool) -> None:
    """What the run is, its classes, and matrix and metrics of every scenario of the results of its seeds."""
    first, seeds = results[0], ", ".join(str(result["seed"]) for result in results)
    console.print(f"{first['benchmark']} · {first['approach']} · seed{'s' * (len(results) > 1)} {seeds}")
    target = first.get("target")
    told = f"{len(first['class_names'])} classes: {_few(first['class_names'])}"
    console.print(f"{told if target is None else f'numbers: {printable(target)}'}\n", soft_wrap=True)
    for name in results[0]["scenarios"]:
        scenarios = [result["scenarios"][name] for result in results]
        every = [scenario["matrix"] for scenario in scenarios]
        alike = len({(len(one), len(one[0])) for one in every}) == 1
        rows = mean_matrix(every if alike else every[:1])
        tests = len(rows[0]) if rows else 0
        by_class = where_classes_return(scenarios)
        called = ("class_names",) if by_class else ("task_names", "class_names")
        names = next((first[of] for of in called if len(first[of]) == tests), ())
        over = f", mean of {len(results)} seeds" if len(results) > 1 else ""
        shown = over if alike else f", seed {first['seed']} (the streams of the seeds differ in length)"
        of = worded("accuracy in %", target is not None)
        console.print(matrix(rows, f"{scenario_title(name)}: {of}{shown}", console.width, names))
        if target is not None:
            console.print(Text(_errors([scenario.get(ERROR.name) for scenario in scenarios], target)))
        if with_variants:
            console.print()
            console.print(variants(_mean_variants(scenarios, by_class), f"every definition{over}"))
        console.print()


def _errors(values: Sequence[float | None], target: str) -> str:
    known = [value for value in values if value is not None]
    mean = units.plain(sum(known) / len(known)) if known else units.MISSING
    return f"mean absolute error at the end: {mean} (in units of {printable(target)})"


def _few(names: Sequence[str], most: int = 40) -> str:
    more = f", … and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def _mean_variants(scenarios: Iterable[Mapping[str, Any]], by_class: bool) -> dict[str, float | None]:
    """Variants of each seed's matrix, averaged, of which tests that are not the tasks' have none. The untrained network's
    accuracies lie in the run's own figure."""
    each = [
        metrics.variants([] if by_class else s["matrix"]) | {"fwt_gem": s["forward_transfer"]}
        for s in scenarios
    ]
    return {name: statistics([found[name] for found in each])["mean"] for name in each[0]}


def pasted(console: Console, rows: Sequence[Sequence[float | None]]) -> None:
    """Matrix and every definition of the metrics for a matrix from elsewhere."""
    console.print(matrix(rows, "accuracy in %", console.width))
    console.print()
    if len(rows) != max(map(len, rows)):
        console.print(
            "The matrix is not square: which tests belong to which task is unknown.", style="yellow"
        )
    console.print(variants(metrics.variants(rows), "every definition"))


def comparison(found: Comparison, width: int) -> Group:
    """A row for each approach, the best first: metrics and costs with intervals, and the difference to the best.

    Where `width` columns do not hold the table, it is cut into several below one another, all with the names whole. Where not
    all rows can be compared, their sets have letters, and a banner tells in what these differ.
    """
    summary, keys = found.summary, found.summary.main
    heads = [f"{_head(summary.column(key))}" for key in keys]
    best = f"{summary.primary}.average_accuracy"
    seeds = max(row.statistics[best]["n"] for row in summary.rows)
    about = f"{seeds} seeds, {_INTERVAL}" if seeds > 1 else "1 seed: no intervals, no differences"
    names, columns = [Text("approach")], [[Text(head)] for head in [*heads, "to the best"]]
    for row in summary.rows:
        label = (
            row.group.label + (f" ({row.bound})" if row.bound else "") + (f" [{row.set}]" if row.set else "")
        )
        names.append(Text(label, style="bold" if summary.wins(row, best) else ""))
        for column, key in zip(columns, keys, strict=False):
            column.append(Text(summary.written(row, key), style="bold" if summary.wins(row, key) else ""))
        columns[-1].append(Text(_difference(row)))
    first, *others = _cut(names, columns, width)
    return Group(
        *_banner(summary),
        block(first, summary.benchmark.name),
        *(Padding(t, (1, 0, 0, 0)) for t in others),
        Text(" ".join([f"{about}.", *summary.remarks]), style="dim"),
    )


def _banner(summary: Summary) -> list[Text]:
    """What differs between rows beside the approach; nothing where they can be compared."""
    if not summary.differing:
        return []
    lines = [
        "NOT ALL ROWS CAN BE COMPARED: only those of one set, [A], [B] …, which differ in",
        *(f"  {one}" for one in summary.differing),
        "Settings that are said hold for all: train.iterations=300, for example.",
    ]
    return [Text("\n".join([*lines, ""]), style="yellow")]


def _cut(names: Sequence[Text], columns: Sequence[Sequence[Text]], width: int) -> list[Table]:
    """Tables that each begin with the names and have as many of the columns as fit, at least one."""
    room = width - _widest(names)
    parts: list[list[Sequence[Text]]] = [[]]
    for column in columns:
        if parts[-1] and sum(_widest(c) + _GAP for c in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    tables = []
    for part in parts:
        table = plain_table(names[0].plain, *(column[0].plain for column in part))
        for cells in zip(names[1:], *(column[1:] for column in part), strict=True):
            table.add_row(*cells)
        tables.append(table)
    return tables


_GAP = 2
"""Blanks between two columns of a table."""


def _widest(cells: Iterable[Text]) -> int:
    return max(cell_len(line) for cell in cells for line in cell.plain.splitlines() or [""])


def _head(column: Column) -> str:
    for scenario, name in SCENARIO_NAMES.items():
        if column.key.startswith(f"{scenario}."):
            title = column.title.removesuffix(f", {name}")
            return f"{title}\n{', '.join(filter(None, (scenario, column.unit)))}"
    return f"{column.title}\n{column.unit}"


def _difference(row: Row) -> str:
    if row.is_best:
        return "best"
    if row.difference is None:
        return units.MISSING
    p = row.difference["p"]
    shown = units.interval(row.difference["mean"], row.difference["ci95"], signed=True)
    return shown if p is None else f"{shown}, p {'<' if p < 0.001 else ''}{max(p, 0.001):.3f}"


VERDICTS = {
    "reproduced": "within tolerance",
    "above": "NOT within tolerance: above",
    "below": "NOT within tolerance: below",
    "undefined": "NOT within tolerance: undefined",
    None: "short budget: not comparable",
}


def reproduction(done: Reproduction) -> Group:
    """Published, measured, difference, within tolerance or not."""
    seeds = f"{len(done.seeds)} seed{'s' if len(done.seeds) > 1 else ''}"
    title = f"{done.recipe.name}, {done.budget} budget, {seeds}"
    table = plain_table("figure", "published %", "measured %", "difference", "tolerance", "verdict")
    table.columns[5].justify = "left"
    for figure in done.figures:
        published, measured = figure.published, figure.measured
        spread = units.interval(measured["mean"], measured["std"])
        table.add_row(
            f"{published.metric}{f' ({published.where})' if published.where else ''}",
            units.interval(published.value, published.std),
            spread,
            units.percent(figure.difference, signed=True),
            units.percent(published.tolerance),
            VERDICTS[figure.verdict],
        )
    return block(table, title, f"published: {done.recipe.source}; ± is one standard deviation")


def predictions(found: Sequence[Prediction], task_names: Sequence[str], width: int) -> Table:
    """The answer for each image, its confidence, and the two next ones; all three as the nearest ones where it is none.

    Of `width` columns fewer than 80 have no room for the next ones.
    """
    then_too = ["then"] if width >= 80 else []
    table = plain_table("image", "answer", "confidence", "task", *then_too, left=2)
    table.columns[0].min_width = min(20, max(len(printable(str(one.image))) for one in found))
    table.columns[1].no_wrap = True
    for column in table.columns[3:]:  # what is missed least is broken first
        column.justify, column.no_wrap = "left", False
    for prediction in found:
        (name, share), *others = prediction.ranked
        if prediction.strange:
            name, others = "none of these", [(name, share), *others[:2]]
        then = ", ".join(
            f"{printable(other)} {100 * value:.1f} %"
            for other, value in others[: 3 if prediction.strange else 2]
        )
        where = (
            "any"
            if prediction.task is None
            else f"{prediction.task + 1}: {printable(task_names[prediction.task])}"
        )
        inferred = " (inferred)" if prediction.inferred else ""
        image, answer = printable(str(prediction.image)), printable(name)
        sure = "" if prediction.strange else f"{100 * share:.1f} %"
        table.add_row(image, answer, sure, where + inferred, *([then] if then_too else ()))
    return table


def class_accuracies(found: Sequence[ClassAccuracy]) -> Table:
    """A row for each class, and one for all files."""
    table = plain_table("class", "files", "right", "accuracy", "else mostly taken for")
    table.columns[4].justify = "left"
    for one in found:
        mostly = "" if one.mostly is None else f"{printable(one.mostly[0])} ({one.mostly[1]})"
        table.add_row(
            printable(one.name), f"{one.files:,}", f"{one.right:,}", _share(one.right, one.files), mostly
        )
    files, right = sum(one.files for one in found), sum(one.right for one in found)
    table.add_row(
        Text("all", style="bold"), f"{files:,}", f"{right:,}", Text(_share(right, files), style="bold")
    )
    return table


def _share(part: int, whole: int) -> str:
    return f"{units.percent(part / whole, 1)} %"


def kept(found: Mapping[str, tuple[float, float]], untested: str) -> str:
    """What `learn` says of the earlier tasks: their accuracy before and after, or why it is not known."""
    if untested:
        more = "" if untested == "as asked" else "; give --data-dir, or --no-retest to leave it"
        return f"earlier tasks: not tested again ({printable(untested)}){more}"
    changes = (
        f"{name} {units.percent(a, 1)} % → {units.percent(b, 1)} % ({units.percent(a - b, 1, signed=True)} forgotten)"
        for name, (a, b) in found.items()
    )
    return f"earlier tasks: {', '.join(changes) or 'not measured'}"
