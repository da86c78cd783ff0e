"""Sources in parquet files."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import with_suffix
from hypermnesia.data.sources.arrow import find_columns, from_tables, require_same
from hypermnesia.data.sources.cache import cached, fingerprint
from hypermnesia.data.sources.decode import MAX_BYTES
from hypermnesia.data.sources.source import Source
from hypermnesia.data.sources.text import TextForm

MAX_EXPANSION = 200
"""Decoded bytes of the columns for each byte of a file; images are compressed already, texts and numbers by far less."""
FREE_BYTES = 2**28
"""Decoded bytes that any file may have."""
_ROWS, _ROWS_OF_NUMBERS = 16, 2**16


def read_parquet(name: str, path: Path, size: int | None, text: TextForm) -> Source:
    """The source in a parquet file, or in the folder `path` of such files.

    In a folder, files whose names begin with "train" are the training part and those with "test" (or else
    "val") the test part; other files do not count unless there is no train file. A single file or a folder
    without test files gets a test part as `build_source` cuts it. Decoded images are cached (see `cached`).
    """
    train, test = find_files(path)

    def build() -> Source:
        tables = [_read(files) for files in (train, test) if files]
        columns = find_columns(tables[0][0].schema, str(train[0]))
        if test:
            other = find_columns(tables[1][0].schema, str(test[0]))
            require_same(other, str(test[0]), columns, str(train[0]))
        return from_tables(name, tables, columns, size, text)

    key = {
        "train": fingerprint(train, path),
        "test": fingerprint(test, path),
        "size": size,
        "text": astuple(text),
    }
    return cached(name, key, build)


def find_files(path: Path, suffix: str = "parquet") -> tuple[list[Path], list[Path]]:
    """Training and test files of `path` that end in `.suffix`; the latter may be none."""
    if path.is_file():
        return [path], []
    files = with_suffix(path, f".{suffix}")
    if not files:
        reason = f"no *.{suffix} file in it" if path.is_dir() else "no such file or folder"
        raise HypermnesiaError(f"{suffix} {str(path)!r}: {reason}")
    train = [file for file in files if file.name.startswith("train")]
    test = [file for file in files if file.name.startswith("test")]
    test = test or [file for file in files if file.name.startswith("val")]
    if test and not train:
        raise HypermnesiaError(
            f"{suffix} {str(path)!r}: there is {test[0].name} but no train*.{suffix}; found "
            + ", ".join(file.name for file in files)
        )
    return train or files, test


def _read(files: Sequence[Path]) -> tuple[pa.Table, list[tuple[str, int]]]:
    """The image and label columns of the files as one table, and each file's name and number of rows."""
    tables = [_read_file(file) for file in files]
    for table, file in zip(tables, files, strict=True):
        if not table.schema.equals(tables[0].schema):
            raise HypermnesiaError(
                f"{file}: its columns {_columns(table)} differ from {_columns(tables[0])} of {files[0]}"
            )
    counts = [(str(file), len(table)) for file, table in zip(files, tables, strict=True)]
    return pa.concat_tables(tables), counts


def _read_file(path: Path) -> pa.Table:
    """The columns of the samples and the labels, decoded a few rows at a time.

    A few bytes of a file may stand for gigabytes (one value that all rows refer to, of which its footer says nothing), so
    what has been decoded is counted, and held against the size of the file.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns = find_columns(file.schema_arrow, str(path))
            metadata = file.metadata
            claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
            size = path.stat().st_size
            most = min(MAX_BYTES, max(FREE_BYTES, MAX_EXPANSION * size))
            _check_size(path, claimed, size, most)
            names, held = [*columns.samples, columns.label], 0
            numbers = columns.kind == "vectors" and len(columns.samples) > 1
            batches = []
            for batch in file.iter_batches(_ROWS_OF_NUMBERS if numbers else _ROWS, columns=names):
                held += batch.nbytes
                _check_size(path, held, size, most)
                batches.append(batch)
            schema = (
                batches[0].schema if batches else pa.schema([file.schema_arrow.field(name) for name in names])
            )
            table = pa.Table.from_batches(batches, schema.with_metadata(file.schema_arrow.metadata))
            table.validate(full=True)  # of damaged text among others, which reading does not look at
            return table
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise HypermnesiaError(
            f"{path}: cannot be read as parquet ({error}); is the file cut short? Fetch it again"
        ) from error


def _check_size(path: Path, found: int, size: int, most: int) -> None:
    if found > most:
        raise HypermnesiaError(
            f"{path}: {size} bytes stand for {found / 2**30:.1f} GiB of data or more, and at most "
            f"{most / 2**30:.2f} GiB are decoded of a file of that size"
        )


def _columns(table: pa.Table) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in table.schema)
