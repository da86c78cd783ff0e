"""Sources on the Hugging Face hub, through the optional package `datasets`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.arrow import find_columns, to_records
from hypermnesia.data.sources.cache import cached, fingerprint
from hypermnesia.data.sources.decode import build_source
from hypermnesia.data.sources.source import Source
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
    chosen = ["train", *[split for split in TEST_SPLITS if split in splits][:1]]

    def build() -> Source:
        tables = []
        for split in chosen:
            table = splits[split].with_format("arrow")[:]
            tables.append((table, [(f"{repository} ({split})", len(table))]))
        columns = find_columns(tables[0][0].schema, repository)
        records, class_names = to_records(tables, columns)
        class_names = getattr(splits["train"].features[columns.label], "names", None) or class_names
        return build_source(
            name, records[0], records[1] if len(records) > 1 else None, class_names, size, text
        )

    files = {split: [Path(file["filename"]) for file in splits[split].cache_files] for split in chosen}
    if not all(files.values()):  # held in memory: nothing tells one version from another
        return build()
    key = {split: fingerprint(found, None) for split, found in files.items()}
    return cached(name, {"hub": key, "size": size, "text": astuple(text)}, build)


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
