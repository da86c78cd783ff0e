"""The report: sections from the runs, laid out by the template as one file that loads nothing, or its table in a format."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hypermnesia.core import units
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.secrets import flatten
from hypermnesia.evaluation.schema import Sweep, Trial
from hypermnesia.report import accuracy, inside, sweeps, tables, tradeoff, verdict
from hypermnesia.report.blocks import Block, Figure, Section, colour_bar, key
from hypermnesia.report.load import Benchmark, Note, Runs, SweepRecord, load
from hypermnesia.report.summary import SCENARIO_NAMES, Summary, summarise


@dataclass(frozen=True)
class Chapter:
    """One benchmark of the page."""

    anchor: str
    summary: Summary
    verdicts: Sequence[tuple[str, str]]
    """(scenario, what was found in a sentence)."""
    opening: Section
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    sections: Sequence[Section]
    environment: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class SweepChapter:
    """One search of the page; `trials` are rows of number, state, value, seconds, settings and reason."""

    anchor: str
    record: SweepRecord
    found: str
    """What came of it, in a sentence or two."""
    facts: Sequence[tuple[str, str]]
    winner: Sequence[tuple[str, str]]
    space: Sequence[tuple[str, str]]
    final: Sequence[tuple[str, str]]
    block: Block
    trials: Sequence[Sequence[str]]


def html(runs: Runs, summaries: Sequence[Summary]) -> str:
    """One self-contained HTML page without any script; every text of the runs is escaped."""
    notes = list(runs.notes)
    chapters = [_chapter(f"b{i}", summary, notes) for i, summary in enumerate(summaries, start=1)]
    searches = [_sweep(f"s{i}", record) for i, record in enumerate(runs.sweeps, start=1)]
    names = [
        *(chapter.summary.benchmark.name for chapter in chapters),
        *(s.record.sweep.benchmark for s in searches),
    ]
    environment = Environment(
        loader=PackageLoader("hypermnesia.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=", ".join(dict.fromkeys(names)),
        version=version("hypermnesia"),
        chapters=chapters,
        searches=searches,
        searches_first=bool(searches) and all(map(_of_search, runs.benchmarks)),
        notes=notes,
        colour_bar=colour_bar(),
        difference=tables.difference,
        p_value=_p_value,
        key=key,
    )


def _of_search(benchmark: Benchmark) -> bool:
    """Whether all its runs are those of a search's winner."""
    return all(seed.result.search is not None for group in benchmark.groups for seed in group.seeds)


def _chapter(anchor: str, summary: Summary, notes: list[Note]) -> Chapter:
    sections = [
        accuracy.numbers(summary),
        accuracy.over_time(summary),
        accuracy.per_task(summary),
        accuracy.matrices(summary),
        inside.confusion(summary),
        inside.learning_curves(summary, notes),
        inside.embeddings(summary),
        inside.masks(summary),
        inside.memory(summary, notes),
    ]
    return Chapter(
        anchor,
        summary,
        verdict.verdicts(summary),
        tradeoff.accuracy_and_cost(summary),
        _facts(summary),
        _warnings(summary.benchmark),
        [section for section in sections if section.blocks],
        _environment(summary.benchmark),
    )


def _facts(summary: Summary) -> list[tuple[str, str]]:
    benchmark = summary.benchmark
    results = [seed.result for group in benchmark.groups for seed in group.seeds]
    rows = [len(scenario.matrix) for result in results for scenario in result.scenarios.values()]
    tasks = max(*rows, *(len(result.task_names) for result in results))
    classes = max(len(result.class_names) for result in results)
    facts = [
        ("Approaches", f"{len(benchmark.groups)}"),
        ("Seed numbers", _ranges({result.seed for result in results})),
        ("Runs", f"{len(results)}"),
    ]
    facts += [("Tasks", f"{tasks}")] if tasks else []
    facts += [("Classes", f"{classes}")] if classes and not benchmark.numbers else []
    facts.append(
        ("Sorted by", f"{summary.worded('accuracy')}, {SCENARIO_NAMES.get(summary.primary, summary.primary)}")
    )
    return facts


def _ranges(numbers: Iterable[int]) -> str:
    """{0, 1, 2, 5} -> "0–2, 5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _warnings(benchmark: Benchmark) -> list[str]:
    """What makes the numbers of this benchmark hard to compare, beside settings in which they differ."""
    sets = {frozenset(seed.result.seed for seed in group.seeds) for group in benchmark.groups}
    if len(sets) > 1:
        return ["Not all approaches have the same seeds; paired differences use those that both have."]
    return []


_NOT_ENVIRONMENT = ("seed", "data_dir")  # told elsewhere; a path of the machine that nobody else has


def _environment(benchmark: Benchmark) -> list[tuple[str, str]]:
    """environment.json of all runs, merged: every value that a key had."""
    values: dict[str, dict[str, None]] = {}
    for group in benchmark.groups:
        for seed in group.seeds:
            for name, value in seed.environment.items():
                if name not in _NOT_ENVIRONMENT:
                    values.setdefault(name, {})[value] = None
    return [(name, _few(list(found))) for name, found in values.items()]


def _few(values: Sequence[str], most: int = 4) -> str:
    more = f" · and {len(values) - most} more" if len(values) > most else ""
    return " · ".join(values[:most]) + more


def _p_value(p: float | None) -> str:
    return "" if p is None else "paired t test: p < 0.001" if p < 0.001 else f"paired t test: p = {p:.3f}"


def _sweep(anchor: str, record: SweepRecord) -> SweepChapter:
    sweep = record.sweep
    states = dict.fromkeys(trial.state for trial in sweep.trials)
    counts = ", ".join(f"{sum(t.state == state for t in sweep.trials)} {state}" for state in states)
    best = next((trial for trial in sweep.trials if trial.number == sweep.best), None)
    facts = [
        ("Benchmark", sweep.benchmark),
        ("Approach", sweep.approach),
        ("Objective", f"{sweep.objective} ({'larger' if sweeps.maximises(sweep) else 'smaller'} is better)"),
        ("Trials", f"{len(sweep.trials)} ({counts})" if counts else "0"),
        ("Total time", units.duration(sum(trial.seconds or 0 for trial in sweep.trials))),
    ]
    plots: list[tuple[str, Callable[[Sweep], Any], bool, str]] = [
        ("Importance of the settings", sweeps.importance_plot, False, _IMPORTANCE),
        (
            "History",
            sweeps.history_plot,
            False,
            "Steps: the best value so far. Crosses: trials without a value.",
        ),
        ("Parallel coordinates", sweeps.parallel_plot, True, _PARALLEL),
    ]
    figures = [Figure(t, p, remark=r, wide=w) for t, plot, w, r in plots if (p := plot(sweep)) is not None]
    return SweepChapter(
        anchor,
        record,
        _found(sweep, best),
        facts,
        [] if best is None else _pairs(best.settings),
        _pairs(sweep.space),
        [(name, value) for name, value in flatten(sweep.final or {}).items() if len(value) <= _LONGEST_VALUE],
        Block("", figures),
        [
            (
                str(trial.number),
                trial.state,
                units.plain(trial.value),
                units.duration(trial.seconds),
                ", ".join(f"{name}={sweeps.shown(value)}" for name, value in trial.settings.items()),
                trial.reason or "",
            )
            for trial in sorted(sweep.trials, key=lambda trial: trial.number)
        ],
    )


def _found(sweep: Sweep, best: Trial | None) -> str:
    """The best trial, its settings, and which setting mattered most."""
    if best is None:
        return "No trial came to an end, so nothing was found."
    chosen = ", ".join(f"{name}={sweeps.shown(value)}" for name, value in best.settings.items())
    complete = len(sweeps.done(sweep))
    said = (
        f"{chosen or 'No setting varied'}: {units.plain(best.value)}, the best of {complete} complete trials."
    )
    mattered = sweeps.importance(sweep)
    if mattered and mattered[0][1] > 0:
        said += f" {mattered[0][0]} mattered most: alone it explains {100 * mattered[0][1]:.0f} % of the variance."
    return said


_LONGEST_VALUE = 200  # characters; what is longer, such as a matrix, is no line of a table
_IMPORTANCE = (
    "ε²: variance between bins of one setting (its values, or quarters by rank), corrected for chance. "
    "It sees each setting alone, no interactions."
)
_PARALLEL = "One line per complete trial, coloured from the worst to the best; the best one is bold."


def _pairs(tree: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, sweeps.shown(value)) for name, value in tree.items()]


TABLES: dict[str, Callable[[Runs, Sequence[Summary], Sequence[str]], str]] = {
    "md": tables.markdown,
    "latex": tables.latex,
    "csv": tables.comma_separated,
}
FORMATS = ("html", *TABLES)


def render(runs: Runs, format: str, columns: Sequence[str] = ()) -> str:
    """The report of `runs` as text. `format`: html (the page), md, latex or csv (the summary table).

    `columns` of a table: keys such as `class.forgetting` or `costs.stored_bytes`, or their last parts, which stand for all
    scenarios (`forgetting`); none = those of the page's first table, in CSV all.
    """
    summaries = [summarise(benchmark) for benchmark in runs.benchmarks]
    if format in TABLES:
        made = TABLES[format](runs, summaries, _chosen(summaries, columns))
    elif format != "html":
        raise unknown("report format", format, FORMATS)
    elif columns:
        raise HypermnesiaError("the page has all columns; choose columns with --format md, latex or csv")
    else:
        made = html(runs, summaries)
    return made.encode("utf-8", "replace").decode()  # names of files may hold bytes that are no text


def _chosen(summaries: Sequence[Summary], columns: Sequence[str]) -> list[str]:
    """The keys that `columns` stand for, in their order."""
    known = list(dict.fromkeys(column.key for summary in summaries for column in summary.columns))
    found: dict[str, None] = {}
    for name in columns:
        keys = [key for key in known if key == name or key.endswith(f".{name}")]
        if not keys:
            raise unknown("column", name, [*known, *{key.rpartition(".")[2] for key in known}])
        found |= dict.fromkeys(keys)
    return list(found)


def write(
    directories: Sequence[Path], output: Path | None = None, format: str = "html", columns: Sequence[str] = ()
) -> Path | str:
    """Read the runs in or below `directories` and report them; `columns` as in `render`.

    Returns `output` once the file is complete (an older one is replaced in one go; a device, a pipe or the target of a link
    is written to), or the text when `output`
    is None. Raises `HypermnesiaError` when nothing usable was found, for an unknown format and for a place
    that cannot be written to. Damaged runs are skipped and named in the report.
    """
    if format not in FORMATS:
        raise unknown("report format", format, FORMATS)
    made = render(load(directories), format, columns)
    if output is None:
        return made
    if not output.name:
        raise HypermnesiaError(
            f"cannot write the report to {str(output)!r}: name a file, such as report.html"
        )
    try:
        _replace(output, made)
    except OSError as error:
        raise HypermnesiaError(f"cannot write the report to {str(output)!r}: {error.strerror}") from error
    return output


def _replace(output: Path, made: str) -> None:
    """Only files and new names are replaced; devices, pipes and what links lead to are written to."""
    if output.is_symlink() or (output.exists() and not output.is_file()):
        output.write_text(made, encoding="utf-8")
        return
    partial = output.with_name(f".report.{os.getpid()}.partial")
    try:
        partial.write_text(made, encoding="utf-8")
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
