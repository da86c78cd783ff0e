"""Labelled images or texts in an Arrow table, in the layout that the Hugging Face hub uses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.decode import EncodedSamples, place

IMAGE_COLUMNS = ("image", "img", "picture")
TEXT_COLUMNS = ("text", "sentence", "content", "document", "review", "question")
LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "target")


@dataclass(frozen=True)
class Columns:
    """Which columns hold the samples and the labels."""

    sample: str
    label: str
    texts: bool = False
    """Whether the samples are texts."""


def find_columns(schema: pa.Schema, where: str) -> Columns:
    """The first known name of each kind, images before texts; raises `HypermnesiaError`, which lists the columns."""
    listed = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"

    def first(kind: str, known: Sequence[str]) -> str:
        names = [name for name in known if name in schema.names]
        if not names:
            raise HypermnesiaError(
                f"{where}: no {kind} column; expected one named {' or '.join(known)}, found {listed}"
            )
        return names[0]

    texts = not set(IMAGE_COLUMNS) & set(schema.names) and bool(set(TEXT_COLUMNS) & set(schema.names))
    if texts:
        columns = Columns(first("text", TEXT_COLUMNS), first("label", LABEL_COLUMNS), texts=True)
    else:
        columns = Columns(first("image", IMAGE_COLUMNS), first("label", LABEL_COLUMNS))
    sample, label = schema.field(columns.sample).type, schema.field(columns.label).type
    nested = pa.types.is_struct(sample) and sample.get_field_index("bytes") >= 0
    if texts and not _is_text(sample):
        raise HypermnesiaError(f"{where}: column {columns.sample!r} is {sample}; expected strings")
    if not texts and not _is_binary(sample.field("bytes").type if nested else sample):
        raise HypermnesiaError(
            f"{where}: column {columns.sample!r} is {sample}; expected encoded images, binary or struct<bytes: "
            "binary, path: string>"
        )
    if not (pa.types.is_integer(label) or _is_text(label)):
        raise HypermnesiaError(
            f"{where}: column {columns.label!r} is {label}; expected integer class ids or strings"
        )
    return columns


def named_classes(schema: pa.Schema, column: str) -> list[str] | None:
    """Class names that the hub's metadata give for a label column; None where there are none."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        names = info["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def read_images(column: pa.ChunkedArray, files: Sequence[tuple[str, int]]) -> list[bytes]:
    """The encoded images of a column; `files` as in `EncodedSamples`. Paths in the data are never followed."""
    if pa.types.is_struct(column.type):
        column = column.flatten()[column.type.get_field_index("bytes")]
    images = column.to_pylist()
    if column.null_count:
        raise HypermnesiaError(
            f"{place(files, images.index(None))}: the image has no bytes; they must lie in the "
            "table, not beside it"
        )
    return images


def read_texts(column: pa.ChunkedArray, files: Sequence[tuple[str, int]]) -> list[bytes]:
    """The texts of a column in UTF-8; `files` as in `EncodedSamples`."""
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise HypermnesiaError(f"{place(files, row)}: the text is missing")
    return column.cast(pa.large_binary()).to_pylist()


def read_labels(
    column: pa.ChunkedArray, files: Sequence[tuple[str, int]], names: Sequence[str] | None
) -> np.ndarray:
    """int64 (N,) class ids; `names` numbers the classes of a column of strings."""
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise HypermnesiaError(f"{place(files, row)}: the label is missing")
    if _is_text(column.type):
        numbers = {name: i for i, name in enumerate(names or ())}
        return np.array([numbers[label] for label in column.to_pylist()], dtype=np.int64)
    labels = column.to_numpy()
    # Compared before the conversion, so that huge unsigned ids do not turn into small or negative ones.
    wrong = np.flatnonzero((labels < 0) | (labels > 2**31))
    if len(wrong):
        row = int(wrong[0])
        raise HypermnesiaError(
            f"{place(files, row)}: the label is {labels[row]}; expected a class id from 0 on (test sets "
            "without labels cannot be used)"
        )
    return labels.astype(np.int64)


def text_classes(columns: Sequence[pa.ChunkedArray]) -> list[str] | None:
    """The sorted distinct values of label columns that hold strings; None for columns of integers."""
    kinds = [_is_text(column.type) for column in columns]
    if not all(kinds):
        if any(kinds):
            listed = " and ".join(str(column.type) for column in columns)
            raise HypermnesiaError(
                f"the labels of train and test are {listed}; expected strings or integers in both"
            )
        return None
    return sorted({label for column in columns for label in column.unique().to_pylist() if label is not None})


def to_records(
    tables: Sequence[tuple[pa.Table, Sequence[tuple[str, int]]]], columns: Columns
) -> tuple[list[EncodedSamples], list[str] | None]:
    """EncodedSamples of each table (with its `files`), and the names of the classes where the tables tell them."""
    text = text_classes([table[columns.label] for table, _ in tables])
    names = text or named_classes(tables[0][0].schema, columns.label)
    records = [
        EncodedSamples(
            (read_texts if columns.texts else read_images)(table[columns.sample], files),
            read_labels(table[columns.label], files, text),
            tuple(files),
            columns.texts,
        )
        for table, files in tables
    ]
    return records, names


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
