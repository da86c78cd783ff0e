"""Sources in CSV files: features, or texts, with a column of labels."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.arrow import find_columns, from_tables, require_same
from hypermnesia.data.sources.cache import cached, fingerprint
from hypermnesia.data.sources.decode import MAX_BYTES
from hypermnesia.data.sources.parquet import find_files
from hypermnesia.data.sources.source import Source, Targets
from hypermnesia.data.sources.text import TextForm


def read_csv(
    name: str, path: Path, size: int | None, text: TextForm, task: Targets = "classification"
) -> Source:
    """The source in a CSV file with a line of column names, or in the folder `path` of such files. `task`: whether labels
    are classes or numbers.

    Which columns count, `find_columns` says; which files, `find_files`. Raises `HypermnesiaError` for what is missing or
    damaged.
    """
    parts = [files for files in find_files(path, "csv") if files]

    def build() -> Source:
        tables = [_read(files) for files in parts]
        columns = find_columns(tables[0][0].schema, str(parts[0][0]), task=task)
        for (table, _), files in zip(tables[1:], parts[1:], strict=True):
            found = find_columns(table.schema, str(files[0]), task=task)
            require_same(found, str(files[0]), columns, str(parts[0][0]))
        return from_tables(name, tables, columns, size, text)

    key = {"csv": [fingerprint(files, path) for files in parts], "size": size, "text": astuple(text)}
    key |= {"task": task} if task == "regression" else {}
    return cached(name, key, build)


def _read(files: Sequence[Path]) -> tuple[pa.Table, list[tuple[str, int]]]:
    tables = [_read_file(file) for file in files]
    counts = [(str(file), len(table)) for file, table in zip(files, tables, strict=True)]
    try:
        return pa.concat_tables(tables, promote_options="permissive"), counts
    except pa.ArrowException as error:
        raise HypermnesiaError(
            f"{files[0]} and the files beside it have different columns ({error})"
        ) from error


def _read_file(path: Path) -> pa.Table:
    if path.stat().st_size > MAX_BYTES:
        raise HypermnesiaError(f"{path}: larger than the {MAX_BYTES / 2**30:.0f} GiB allowed")
    try:
        # Text may hold line breaks in quotes, where a block must not end.
        table = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HypermnesiaError(
            f"{path}: cannot be read as CSV ({error}); expected a line of column names, then a line for each sample"
        ) from error
    if not len(table):
        raise HypermnesiaError(f"{path}: there is no line below the column names")
    return table
