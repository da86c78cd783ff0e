"""Encoded images or texts with labels, as readers of files find them, and how they become a source."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hypermnesia.errors import HypermnesiaError
from hypermnesia.rng import generator
from hypermnesia.streams.choose import hold_out
from hypermnesia.streams.decode import decode
from hypermnesia.streams.source import Images, Source
from hypermnesia.streams.text import TextForm, tokenise

TEST_SHARE = 0.2
"""Of each class's samples, when a source has no test part of its own."""


@dataclass(frozen=True)
class Records:
    """Images as they lie in files, not yet decoded; or texts.

    `images`: encoded bytes (of texts, UTF-8), or paths of files. `labels`: int64 (N,), not negative. `files`:
    name and number of rows of each file that `images` were read from, in order; not used for paths.
    """

    images: Sequence[bytes | Path]
    labels: np.ndarray
    files: tuple[tuple[str, int], ...] = ()
    texts: bool = False
    """Whether these are texts."""

    def place(self, i: int) -> str:
        """Where image i came from, for messages."""
        image = self.images[i]
        return str(image) if isinstance(image, Path) else place(self.files, i)


def place(files: Sequence[tuple[str, int]], i: int) -> str:
    """Row i of files read one after the other, as "FILE, row N"; rows count from 0 in each file."""
    for name, length in files:
        if i < length:
            return f"{name}, row {i}"
        i -= length
    raise IndexError(i)


def build_source(
    name: str,
    train: Records,
    test: Records | None,
    class_names: Sequence[str] | None,
    size: int | None,
    text: TextForm,
) -> Source:
    """Decodes everything (images to `size`, texts to `text`) and numbers the classes 0..C−1.

    `class_names[label]` names the labels (default: their numbers). Labels that no training sample has are
    left out and the others move up, so gaps are harmless. Without `test`, a fifth of each class's samples is
    cut from train by a fixed seed, the same for all runs. `size`: see `decode`.
    """
    if not len(train.labels):
        raise HypermnesiaError(f"{name}: there are no training {'texts' if train.texts else 'images'}")
    labels, names = _contiguous(name, train, test, class_names)
    images = [*train.images, *(test.images if test else ())]

    def origin(i: int) -> str:
        return train.place(i) if i < len(train.images) or test is None else test.place(i - len(train.images))

    x = tokenise(images, origin, text) if train.texts else decode(images, origin, size)
    y = torch.from_numpy(labels)
    if test is not None:
        cut = len(train.images)
        return Source(name, Images(x[:cut], y[:cut]), Images(x[cut:], y[cut:]), names)
    kept, held = hold_out(y, TEST_SHARE, generator(0, "source", "test"))
    return Source(name, Images(x[kept], y[kept]), Images(x[held], y[held]), names)


def _contiguous(
    name: str, train: Records, test: Records | None, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of train, then test, as 0..C−1, with the C names of the classes."""
    present = np.unique(train.labels)
    if class_names is not None and present[-1] >= len(class_names):
        raise HypermnesiaError(
            f"{name}: label {present[-1]} has no name; the data name {len(class_names)} classes, "
            f"0..{len(class_names) - 1}"
        )
    numbers = [int(label) for label in present]
    names = tuple(str(label) if class_names is None else class_names[label] for label in numbers)
    labels = train.labels if test is None else np.concatenate([train.labels, test.labels])
    unknown = np.flatnonzero(~np.isin(labels, present))
    if len(unknown) and test is not None:
        first = int(unknown[0])
        raise HypermnesiaError(
            f"{test.place(first - len(train.labels))}: class {labels[first]} is in test but not in train"
        )
    return np.searchsorted(present, labels), names
