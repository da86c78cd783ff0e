"""Sources on the Hugging Face hub, and data sets of its optional package `datasets`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.arrow import find_columns, from_tables
from hypermnesia.data.sources.cache import cached, fingerprint
from hypermnesia.data.sources.source import Source, Targets
from hypermnesia.data.sources.text import TextForm

TEST_SPLITS = ("test", "validation", "valid", "val")


def read_hub(name: str, repository: str, size: int | None, text: TextForm, looked_for: str = "") -> Source:
    """The data set `repository` ("owner/name") of the hub: its splits train and test (or else validation).

    Downloads on first use into the package's own cache. `looked_for` says, for the error, where the data were
    looked for before. Raises `HypermnesiaError` when the package is not installed or the hub does not answer.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports] (the extra `hub`)
    except ImportError as error:
        raise HypermnesiaError(
            f"{name}: {looked_for}the package 'datasets', which reads {repository} from the Hugging Face "
            "hub, is not installed; install it with: pip install 'hypermnesia[hub]'"
        ) from error
    try:
        with _silent("huggingface_hub", "datasets"):
            splits: Any = datasets.load_dataset(repository)
    except Exception as error:  # the hub's client raises errors of many packages, all of them about the hub
        raise HypermnesiaError(
            f"{name}: {looked_for}the Hugging Face hub gave no data set {repository!r} "
            f"({type(error).__name__}: {error})"
        ) from error
    if "train" not in splits:
        raise HypermnesiaError(f"{name}: {repository} has no split 'train'; it has {', '.join(splits)}")
    chosen = {split: splits[split] for split in ["train", *_test_splits(splits)]}

    def build() -> Source:
        return from_splits(
            name, list(chosen.values()), [f"{repository} ({split})" for split in chosen], size, text
        )

    files = {split: [Path(file["filename"]) for file in data.cache_files] for split, data in chosen.items()}
    if not all(files.values()):  # held in memory: nothing tells one version from another
        return build()
    key = {split: fingerprint(found, None) for split, found in files.items()}
    return cached(name, {"hub": key, "size": size, "text": astuple(text)}, build)


def parts_of(splits: Mapping[str, Any]) -> list[Any]:
    """The splits of a `DatasetDict` that are used: train, and test (or else validation) where there is one."""
    if "train" not in splits:
        raise HypermnesiaError(f"this DatasetDict has no split 'train'; it has {', '.join(map(str, splits))}")
    return [splits[split] for split in ["train", *_test_splits(splits)]]


def _test_splits(splits: Mapping[str, Any]) -> list[str]:
    return [split for split in TEST_SPLITS if split in splits][:1]


def from_splits(
    name: str,
    splits: Sequence[Any],
    where: Sequence[str],
    size: int | None,
    text: TextForm,
    label: str | None = None,
    class_names: Sequence[str] | None = None,
    task: Targets = "classification",
) -> Source:
    """The source of one or two `datasets.Dataset` (train, test), which messages call `where`."""
    tables = []
    for split, place in zip(splits, where, strict=True):
        table = split.with_format("arrow")[:]
        tables.append((table, [(place, len(table))]))
    columns = find_columns(tables[0][0].schema, where[0], label, task)
    names = class_names or getattr(splits[0].features[columns.label], "names", None)
    return from_tables(name, tables, columns, size, text, names)


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """No warnings of these loggers about every attempt: the error that is raised in the end says what is wrong."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
