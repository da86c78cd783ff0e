"""Sources in parquet files."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.arrow import find_columns, to_records
from hypermnesia.data.sources.cache import cached, fingerprint
from hypermnesia.data.sources.decode import MAX_BYTES, build_source
from hypermnesia.data.sources.source import Source
from hypermnesia.data.sources.text import TextForm


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
            if other.sample != columns.sample:
                raise HypermnesiaError(
                    f"{test[0]}: its samples are in column {other.sample!r}, those of {train[0]} in {columns.sample!r}"
                )
            if other.label != columns.label:
                raise HypermnesiaError(
                    f"{test[0]}: its labels are in column {other.label!r}, those of {train[0]} in {columns.label!r}"
                )
        records, class_names = to_records(tables, columns)
        return build_source(name, records[0], records[1] if test else None, class_names, size, text)

    key = {
        "train": fingerprint(train, path),
        "test": fingerprint(test, path),
        "size": size,
        "text": astuple(text),
    }
    return cached(name, key, build)


def find_files(path: Path) -> tuple[list[Path], list[Path]]:
    """Training and test files of `path`; the latter may be none."""
    if path.is_file():
        return [path], []
    files = sorted(file for file in path.glob("*.parquet") if file.is_file()) if path.is_dir() else []
    if not files:
        reason = "no *.parquet file in it" if path.is_dir() else "no such file or folder"
        raise HypermnesiaError(f"parquet {str(path)!r}: {reason}")
    train = [file for file in files if file.name.startswith("train")]
    test = [file for file in files if file.name.startswith("test")]
    test = test or [file for file in files if file.name.startswith("val")]
    if test and not train:
        raise HypermnesiaError(
            f"parquet {str(path)!r}: there is {test[0].name} but no train*.parquet; found "
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
    try:
        with pq.ParquetFile(path) as file:
            columns = find_columns(file.schema_arrow, str(path))
            metadata = file.metadata
            claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
            if claimed > MAX_BYTES:
                raise HypermnesiaError(
                    f"{path}: claims {claimed / 2**30:.1f} GiB of data, more than the "
                    f"{MAX_BYTES / 2**30:.0f} GiB allowed"
                )
            table = file.read(columns=[columns.sample, columns.label])
            table.validate(full=True)  # of damaged text among others, which reading does not look at
            return table
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise HypermnesiaError(
            f"{path}: cannot be read as parquet ({error}); is the file cut short? Fetch it again"
        ) from error


def _columns(table: pa.Table) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in table.schema)
