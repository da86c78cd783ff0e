"""Labelled images, texts or features in an Arrow table, in the layout that the Hugging Face hub uses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.decode import RawSamples, build_source, place
from hypermnesia.data.sources.source import Source, Targets
from hypermnesia.data.sources.text import TextForm

IMAGE_COLUMNS = ("image", "img", "picture")
TEXT_COLUMNS = ("text", "sentence", "content", "document", "review", "question")
LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "target")
ROW_NUMBERS = ("", "Unnamed: 0", "__index_level_0__")
"""Names under which tables carry the numbers of their rows, which are no feature."""


@dataclass(frozen=True)
class Columns:
    """Which columns hold the samples and the labels."""

    samples: tuple[str, ...]
    """One of encoded images, of texts or of lists of numbers; or the features, each a column of numbers."""
    label: str
    kind: str = "images"
    """What the samples are: `"images"`, `"texts"` or `"vectors"`."""
    numbers: bool = False
    """Whether labels are numbers to be told rather than classes."""


def find_columns(
    schema: pa.Schema, where: str, label: str | None = None, task: Targets = "classification"
) -> Columns:
    """The columns of known names, images before texts; else all columns of numbers but the label are features.

    `label`: the label's column; None: the first that has a known name. `task`: what labels are. Raises `HypermnesiaError`,
    which lists the columns.
    """
    listed = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"

    def first(known: Sequence[str]) -> str | None:
        return next((name for name in known if name in schema.names), None)

    def missing(kind: str, known: Sequence[str]) -> HypermnesiaError:
        return HypermnesiaError(
            f"{where}: no {kind} column; expected one named {' or '.join(known)}, found {listed}"
        )

    image, text, target = (
        first(IMAGE_COLUMNS),
        first(TEXT_COLUMNS),
        first(LABEL_COLUMNS if label is None else (label,)),
    )
    others = tuple(name for name in schema.names if name != target)
    if not (image or text) and len(others) == 1 and _is_text(schema.field(others[0]).type):
        text = others[0]
    features = None if image or text else _features(schema, others)
    if not (image or text or features):
        raise missing("image", IMAGE_COLUMNS) if len(others) == 1 else _no_features(schema, others, where)
    if target is None:
        raise missing("label", LABEL_COLUMNS if label is None else (label,))
    if features:
        columns = Columns(features, target, "vectors")
    else:
        columns = Columns((image,), target) if image else Columns((str(text),), target, "texts")
        _check_samples(schema, columns, where)
    kind = _plain(schema.field(target).type)
    if task == "regression":
        if not _is_number(kind):
            raise HypermnesiaError(f"{where}: column {target!r} is {kind}; task=regression expects numbers")
        return replace(columns, numbers=True)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        raise HypermnesiaError(
            f"{where}: column {target!r} is {kind}; expected integer class ids or strings, or task=regression to tell numbers"
        )
    if not (pa.types.is_integer(kind) or _is_text(kind)):
        raise HypermnesiaError(f"{where}: column {target!r} is {kind}; expected integer class ids or strings")
    return columns


def require_same(found: Columns, where: str, columns: Columns, first: str) -> None:
    """Raise unless the columns of a test part are those of train, which `first` names."""
    for what, own, other in (
        ("samples are in column", ", ".join(found.samples), ", ".join(columns.samples)),
        ("labels are in column", found.label, columns.label),
    ):
        if own != other:
            raise HypermnesiaError(f"{where}: its {what} {own!r}, those of {first} in {other!r}")


def _check_samples(schema: pa.Schema, columns: Columns, where: str) -> None:
    [name] = columns.samples
    kind = schema.field(name).type
    nested = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if columns.kind == "texts" and not _is_text(kind):
        raise HypermnesiaError(f"{where}: column {name!r} is {kind}; expected strings")
    if columns.kind == "images" and not _is_binary(kind.field("bytes").type if nested else kind):
        raise HypermnesiaError(
            f"{where}: column {name!r} is {kind}; expected encoded images, binary or struct<bytes: "
            "binary, path: string>"
        )


def _features(schema: pa.Schema, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """`names`, if they are one column of lists of numbers or all columns of numbers."""
    kinds = [schema.field(name).type for name in names]
    if len(kinds) == 1 and _is_list(kinds[0]):
        return names if _is_number(kinds[0].value_type) else None
    return names if kinds and all(map(_is_number, kinds)) and not set(names) & set(ROW_NUMBERS) else None


def _no_features(schema: pa.Schema, names: tuple[str, ...], where: str) -> HypermnesiaError:
    """Which column keeps the others from being features."""
    for name in names:
        kind = schema.field(name).type
        if name in ROW_NUMBERS:
            return HypermnesiaError(
                f"{where}: column {name!r} numbers the rows, which is no feature: drop it"
            )
        if not _is_number(kind):
            return HypermnesiaError(
                f"{where}: column {name!r} is {kind}; features are numbers: drop it, or turn it into numbers "
                f"(pandas.get_dummies). Images are expected in a column named {' or '.join(IMAGE_COLUMNS)}, texts in one "
                f"named {' or '.join(TEXT_COLUMNS)}"
            )
    return HypermnesiaError(f"{where}: there is no column beside the label")


def named_classes(schema: pa.Schema, column: str) -> list[str] | None:
    """Class names that the hub's metadata give for a label column; None where there are none."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        names = info["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def read_images(column: pa.ChunkedArray, files: Sequence[tuple[str, int]]) -> list[bytes]:
    """The encoded images of a column; `files` as in `RawSamples`. Paths in the data are never followed."""
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
    """The texts of a column in UTF-8; `files` as in `RawSamples`."""
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise HypermnesiaError(f"{place(files, row)}: the text is missing")
    return column.cast(pa.large_binary()).to_pylist()


def read_vectors(table: pa.Table, names: Sequence[str], files: Sequence[tuple[str, int]]) -> Tensor:
    """float32 (N, F) of columns of numbers, or of one column of lists; `files` as in `RawSamples`."""
    for name in names:
        if table[name].null_count:
            row = table[name].is_null().index(True).as_py()
            raise HypermnesiaError(
                f"{place(files, row)}: column {name!r} is missing; fill in what is missing, or drop the row"
            )
    if _is_list(table.schema.field(names[0]).type):
        rows = table[names[0]].to_pylist()
        odd = next((i for i, row in enumerate(rows) if len(row) != len(rows[0]) or None in row), None)
        if odd is not None:
            raise HypermnesiaError(
                f"{place(files, odd)}: column {names[0]!r} has {len(rows[odd])} numbers, some of which may be missing; "
                f"expected {len(rows[0])}, as in the first row"
            )
        return torch.from_numpy(np.asarray(rows, dtype=np.float32).reshape(len(rows), -1))
    columns = [
        table[name].cast(pa.float64() if pa.types.is_decimal(table[name].type) else table[name].type)
        for name in names
    ]
    return torch.from_numpy(np.stack([column.to_numpy().astype(np.float32) for column in columns], axis=1))


def read_labels(
    column: pa.ChunkedArray, files: Sequence[tuple[str, int]], names: Sequence[str] | None
) -> np.ndarray:
    """int64 (N,) class ids; `names` numbers the classes of a column of strings."""
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise HypermnesiaError(f"{place(files, row)}: the label is missing")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
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


def read_numbers(column: pa.ChunkedArray, files: Sequence[tuple[str, int]]) -> np.ndarray:
    """float32 (N,) targets of a regression."""
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise HypermnesiaError(f"{place(files, row)}: the target is missing; drop the row")
    return column.cast(pa.float64()).to_numpy().astype(np.float32)


def text_classes(columns: Sequence[pa.ChunkedArray]) -> list[str] | None:
    """The sorted distinct values of label columns that hold strings; None for columns of integers."""
    kinds = [_is_text(_plain(column.type)) for column in columns]
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
) -> tuple[list[RawSamples], list[str] | None]:
    """RawSamples of each table (with its `files`), and the names of the classes where the tables tell them."""
    text = None if columns.numbers else text_classes([table[columns.label] for table, _ in tables])
    names = [columns.label] if columns.numbers else text or named_classes(tables[0][0].schema, columns.label)

    def samples(table: pa.Table, files: Sequence[tuple[str, int]]) -> Sequence[bytes] | Tensor:
        if columns.kind == "vectors":
            return read_vectors(table, columns.samples, files)
        return (read_texts if columns.kind == "texts" else read_images)(table[columns.samples[0]], files)

    records = [
        RawSamples(
            samples(table, files),
            read_numbers(table[columns.label], files)
            if columns.numbers
            else read_labels(table[columns.label], files, text),
            tuple(files),
            columns.kind == "texts",
        )
        for table, files in tables
    ]
    return records, names


def from_tables(
    name: str,
    tables: Sequence[tuple[pa.Table, Sequence[tuple[str, int]]]],
    columns: Columns,
    size: int | None,
    text: TextForm,
    class_names: Sequence[str] | None = None,
) -> Source:
    """The source of one or two tables (train, test), each with its `files`; `class_names` before those in the tables."""
    records, names = to_records(tables, columns)
    test = records[1] if len(records) > 1 else None
    return build_source(name, records[0], test, class_names or names, size, text)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    t = pa.types
    return t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_decimal(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
