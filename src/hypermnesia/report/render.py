"""Runs to a file or text in one of the formats."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hypermnesia.errors import HypermnesiaError, unknown
from hypermnesia.report import tables
from hypermnesia.report.page import html
from hypermnesia.report.runs import Runs, load
from hypermnesia.report.summary import Summary, summarise

FORMATS: dict[str, Callable[[Runs, Sequence[Summary]], str]] = {
    "html": html,
    "md": tables.markdown,
    "latex": tables.latex,
    "csv": tables.comma_separated,
}


def render(runs: Runs, format: str) -> str:
    """The report of `runs` as text. `format`: html (the page), md, latex or csv (the summary table)."""
    if format not in FORMATS:
        raise unknown("report format", format, FORMATS)
    made = FORMATS[format](runs, [summarise(benchmark) for benchmark in runs.benchmarks])
    return made.encode("utf-8", "replace").decode()  # names of files may hold bytes that are no text


def write(directories: Sequence[Path], output: Path | None = None, format: str = "html") -> Path | str:
    """Read the runs in or below `directories` and report them.

    Returns `output` once the file is complete (an older one is replaced in one go), or the text when `output`
    is None. Raises `HypermnesiaError` when nothing usable was found, for an unknown format and for a place
    that cannot be written to. Damaged runs are skipped and named in the report.
    """
    if format not in FORMATS:
        raise unknown("report format", format, FORMATS)
    made = render(load(directories), format)
    if output is None:
        return made
    try:
        _replace(output, made)
    except OSError as error:
        raise HypermnesiaError(f"cannot write the report to {str(output)!r}: {error.strerror}") from error
    return output


def _replace(output: Path, made: str) -> None:
    partial = output.with_name(f".{output.name}.partial")
    try:
        partial.write_text(made, encoding="utf-8")
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
