"""The summary table as Markdown, LaTeX (booktabs) and CSV. The page has its own in the template."""

import csv
import io
import re
from collections.abc import Callable, Sequence

from hypermnesia.core.printable import printable
from hypermnesia.core.units import interval
from hypermnesia.report.load import Note, Runs
from hypermnesia.report.summary import Row, Summary

Escape = Callable[[str], str]


def markdown(runs: Runs, summaries: Sequence[Summary], keys: Sequence[str] = ()) -> str:
    """A heading and a pipe table per benchmark, the best numbers in bold, then what was skipped.

    `keys`: of the columns; none = `Summary.main`.
    """
    parts = []
    for summary in summaries:
        head, body = _cells(summary, keys, _markdown_text, bold="**{}**".format)
        rules = ["---", *["---:"] * (len(head) - 1)]
        rows = [f"| {' | '.join(cells)} |" for cells in (head, rules, *body)]
        parts.append(
            "\n".join(
                [
                    f"## {_markdown_text(summary.benchmark.name)}",
                    "",
                    *rows,
                    "",
                    _markdown_text(_caption(summary)),
                ]
            )
        )
    if runs.notes:
        notes = [f"- {_markdown_text(note.path)}: {_markdown_text(note.reason)}" for note in runs.notes]
        parts.append("\n".join(["Not read:", "", *notes]))
    return "\n\n".join(parts) + "\n"


def latex(runs: Runs, summaries: Sequence[Summary], keys: Sequence[str] = ()) -> str:
    """The same as a `table` per benchmark for the package booktabs; what was skipped stands in comments."""
    parts = [_latex_comments(runs.notes)] if runs.notes else []
    for summary in summaries:
        head, body = _cells(summary, keys, _latex_text, bold=r"\textbf{{{}}}".format)
        rows = [" & ".join(cells) + r" \\" for cells in body]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_latex_text(summary.benchmark.name)}. {_latex_text(_caption(summary))}}}",
                    rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
                    r"\toprule",
                    " & ".join(head) + r" \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts) + "\n"


def comma_separated(runs: Runs, summaries: Sequence[Summary], keys: Sequence[str] = ()) -> str:
    """Unrounded numbers, every metric or those of `keys`: per group a row `mean` with intervals, then a row `seed` each.

    Fractions are percentages; costs are counts, bytes and seconds. Texts that a spreadsheet would take for a
    formula get a leading apostrophe.
    """
    known = {column.key: column for summary in summaries for column in summary.columns}
    columns = [known[key] for key in keys or known]
    heads = [f"{column.key} [{column.raw_unit}]" if column.raw_unit else column.key for column in columns]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["row", "benchmark", "approach", "seed", "n", *_alternating(heads, [f"{h} ci95" for h in heads])]
    )
    for summary in summaries:
        for row in summary.rows:
            first = [_csv_text(summary.benchmark.name), _csv_text(row.group.label)]
            blank = {"mean": None, "ci95": None}
            found = [(row.statistics.get(column.key, blank), column.scale) for column in columns]
            means = [_csv_number(numbers["mean"], scale) for numbers, scale in found]
            intervals = [_csv_number(numbers["ci95"], scale) for numbers, scale in found]
            writer.writerow(["mean", *first, "", len(row.group.seeds), *_alternating(means, intervals)])
            for seed in row.group.seeds:
                values = [_csv_number(column.value(seed.result), column.scale) for column in columns]
                writer.writerow(
                    ["seed", *first, seed.result.seed, 1, *_alternating(values, [""] * len(values))]
                )
    return buffer.getvalue()


def difference(row: Row) -> str:
    """The paired difference to the best as percentage points, "best" for the best itself."""
    if row.is_best:
        return "best"
    return (
        "–"
        if row.difference is None
        else interval(row.difference["mean"], row.difference["ci95"], signed=True)
    )


def _caption(summary: Summary) -> str:
    return (
        f"Mean ± 95 % interval over the seeds; {summary.worded('accuracies')} in %, forgetting, backward transfer and "
        "differences in percentage points. Difference: to the best approach, over seeds that both have; bounds do not "
        "compete."
    ) + "".join(f" {told}" for told in _told(summary))


def _told(summary: Summary) -> list[str]:
    """What keeps the table from being misread."""
    told = [f"Only rows of one set can be compared. {'. '.join(map(str, summary.differing))}."]
    return [*(told if summary.differing else ()), *summary.remarks]


def _cells(
    summary: Summary, keys: Sequence[str], escape: Escape, bold: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    keys = [key for key in keys if key in {c.key for c in summary.columns}] or summary.main
    columns = [summary.column(key) for key in keys]
    head = [
        "Approach",
        *(["Set"] if summary.differing else []),
        "Seeds",
        *(f"{c.title} ({c.unit})" if c.unit else c.title for c in columns),
        "Difference",
    ]
    body = []
    for row in summary.rows:
        label = f"{row.group.label} ({row.bound})" if row.bound else row.group.label
        cells = [escape(label), *([row.set] if summary.differing else []), str(len(row.group.seeds))]
        for key in keys:
            shown = escape(summary.written(row, key))
            cells.append(bold(shown) if summary.wins(row, key) else shown)
        body.append([*cells, escape(difference(row))])
    return [escape(title) for title in head], body


def _markdown_text(words: str) -> str:
    one_line = printable(re.sub(r"\s+", " ", words).strip())
    one_line = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", one_line)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "…": r"\dots{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
}


def _latex_text(words: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(re.sub(r"\s+", " ", words)))


def _latex_comments(notes: Sequence[Note]) -> str:
    return "\n".join(
        f"% not read: {printable(' '.join(f'{note.path}: {note.reason}'.split()))}" for note in notes
    )


def _csv_text(words: str) -> str:
    return f"'{words}" if words.lstrip()[:1] in ("=", "+", "-", "@") or words[:1] in ("\t", "\r") else words


def _csv_number(value: float | None, scale: float) -> str:
    return "" if value is None else f"{scale * value:.10g}"


def _alternating(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [cell for pair in zip(first, second, strict=True) for cell in pair]
