"""Labelled samples that are decoded once and stay in memory, and the checks that every source passes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.options import Targets as Targets

KINDS = {torch.uint8: "images", torch.int64: "texts", torch.float32: "vectors"}
"""What samples are, by the dtype that they are kept in."""
MOST_CLASSES = 10**6
"""Classes of a source."""
MOST_VALUES = 4 * 64 * 2**20
"""Numbers of one sample: four channels of the largest image that is decoded."""


@dataclass(frozen=True, eq=False)
class Images:
    """Samples with their labels.

    `x`: uint8 (N, C, H, W) for images, int64 (N, L) for tokens, or float32 (N, F) for vectors, all finite.
    `y`: int64 (N,), class ids of the source; or float32 (N,), the numbers to be told, all finite.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class Source:
    """A data set with its own division into train and test. Class id c is called `class_names[c]`; where targets are
    numbers, one name says what they are.

    Raises `HypermnesiaError` unless both parts have samples of one shape and kind, there are at least two
    classes, and every class has samples in both parts; or numbers that are not all the same.
    """

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for title in self.class_names:
            require_text(title, f"{self.name}: the class name")
        for part, images in (("train", self.train), ("test", self.test)):
            _check_tensors(f"{self.name}, {part}", images)
        train, test = self.train.x, self.test.x
        if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
            raise HypermnesiaError(
                f"{self.name}: train samples are {train.dtype} {tuple(train.shape[1:])}, test samples are "
                f"{test.dtype} {tuple(test.shape[1:])}; expected one shape and dtype"
            )
        if not 0 < len(self.class_names) <= MOST_CLASSES or train[0].numel() > MOST_VALUES:
            raise HypermnesiaError(
                f"{self.name}: {len(self.class_names)} classes of samples of shape {tuple(train.shape[1:])}; expected at "
                f"most {MOST_CLASSES} classes, and at most {MOST_VALUES} numbers in a sample"
            )
        if self.tells_numbers:
            for part, images in (("train", self.train), ("test", self.test)):
                _check_numbers(f"{self.name}, {part}", images.y)
            return
        if len(self.class_names) < 2:
            raise HypermnesiaError(
                f"{self.name} has one class only ({', '.join(self.class_names)}): a stream needs at least two"
            )
        for part, images in (("train", self.train), ("test", self.test)):
            _check_labels(f"{self.name}, {part}", images.y, self.class_names)

    @property
    def parts(self) -> tuple[Images, Images]:
        """Train and test."""
        return self.train, self.test

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), (L,) for tokens, or (F,) for vectors."""
        return tuple(self.train.x.shape[1:])

    @property
    def tells_numbers(self) -> bool:
        """Whether targets are numbers rather than classes."""
        return self.train.y.is_floating_point()

    @property
    def kind(self) -> str:
        """`"images"`, `"texts"` or `"vectors"`."""
        return KINDS[self.train.x.dtype]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all samples, labels and class names: of the content, wherever it was read from."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for tensor in (self.train.x, self.train.y, self.test.x, self.test.y):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()


def from_tensors(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "tensors",
) -> Source:
    """A source of one's own data: x uint8 (N, C, H, W) or (N, H, W), int64 tokens (N, L), or float32 vectors (N, F);
    y (N,) integers. `from_arrays` takes more kinds of data and cuts a test part where there is none.

    Labels must be 0..C−1 without gaps; `class_names` defaults to their numbers. Raises `HypermnesiaError` as
    `Source` does.
    """
    parts = []
    for x, y in ((train_x, train_y), (test_x, test_y)):
        if x.dtype == torch.uint8 and x.ndim == 3:
            x = x.unsqueeze(1)
        if y.dtype.is_floating_point or y.dtype == torch.bool or y.dtype.is_complex:
            raise HypermnesiaError(f"{name}: labels are {y.dtype}, expected integers such as torch.int64")
        parts.append(Images(x, y.to(torch.int64)))
    if class_names is None:
        largest = max((int(part.y.max()) for part in parts if len(part)), default=-1)
        class_names = [str(label) for label in range(largest + 1)]
    return Source(name, parts[0], parts[1], tuple(map(str, class_names)))


def require_text(name: str, what: str) -> None:
    """Raises `HypermnesiaError` for a name, such as a folder's, that cannot be written to a file of text."""
    if not name.isascii() and not name.isprintable() and any("\ud800" <= c <= "\udfff" for c in name):
        raise HypermnesiaError(f"{what} {name!r} holds bytes that are not UTF-8; rename it")


def joined(sources: Sequence[Source]) -> Source:
    """The sources one after the other as one; class ids of a later source follow the earlier ones."""
    name = "+".join(source.name for source in sources)
    shapes = {source.shape for source in sources}
    if len(shapes) > 1:
        raise HypermnesiaError(
            f"{name}: samples have shapes {sorted(shapes)}; set stream.size to bring to one"
        )
    offsets, classes = [], 0
    for source in sources:
        offsets.append(classes)
        classes += len(source.class_names)

    def merge(part: str) -> Images:
        images = [getattr(source, part) for source in sources]
        y = torch.cat([image.y + offset for image, offset in zip(images, offsets, strict=True)])
        return Images(torch.cat([image.x for image in images]), y)

    names = tuple(name for source in sources for name in source.class_names)
    return Source(name, merge("train"), merge("test"), names)


def require_images(source: Source, name: str) -> None:
    """Raises `HypermnesiaError` when stream `name` cannot be made because the samples are no images."""
    if source.kind != "images":
        raise HypermnesiaError(
            f"{name} needs images (N, C, H, W); the samples of {source.name} have shape {source.shape}"
        )


def _check_tensors(what: str, images: Images) -> None:
    x, y = images.x, images.y
    kind = f"{x.dtype} {tuple(x.shape)}"
    if x.ndim != {torch.uint8: 4, torch.int64: 2, torch.float32: 2}.get(x.dtype):
        raise HypermnesiaError(
            f"{what}: samples are {kind}, expected uint8 images (N, C, H, W), int64 tokens (N, L) or float32 vectors "
            f"(N, F){_remedy(x)}"
        )
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] > 4:
        raise HypermnesiaError(
            f"{what}: samples are {kind}, which looks like channels-last images (N, H, W, C); expected (N, C, H, W): "
            "pass x.transpose(0, 3, 1, 2), or x.permute(0, 3, 1, 2) of a tensor"
        )
    if x.dtype == torch.float32 and not bool(torch.isfinite(x).all()):
        row, feature = (~torch.isfinite(x)).nonzero()[0].tolist()
        raise HypermnesiaError(
            f"{what}: sample {row} has {float(x[row, feature])} as its feature {feature}; expected finite numbers: fill in "
            "or drop what is missing"
        )
    if x.dtype == torch.int64 and x.numel() and int(x.min()) < 0:
        raise HypermnesiaError(
            f"{what}: samples are {kind} with negative numbers, which are no tokens; pass features as float32"
        )
    if y.dtype not in (torch.int64, torch.float32) or y.ndim != 1 or len(x) != len(y):
        raise HypermnesiaError(
            f"{what}: {len(x)} samples with labels {y.dtype} {tuple(y.shape)}, expected int64 ({len(x)},)"
        )
    if 0 in x.shape:
        raise HypermnesiaError(f"{what}: there are no samples ({kind})")


def _remedy(x: Tensor) -> str:
    """What to pass instead."""
    if x.is_floating_point() and x.ndim > 2:
        bright = x.numel() and float(x.max()) > 1
        range_, bytes_ = ("0..255", "x") if bright else ("0..1", "(x * 255)")
        return f"; for float images in {range_} pass {bytes_}.round().to(torch.uint8)"
    if x.dtype != torch.uint8 and x.ndim > 2:
        return "; pixels of 0..255 are x.to(torch.uint8), those of 16 bits (x >> 8).to(torch.uint8)"
    if x.dtype == torch.uint8 and x.ndim == 2:
        return "; flattened images go back to (N, H, W) by reshape, features to float32"
    return ""


def _check_numbers(what: str, y: Tensor) -> None:
    if not y.is_floating_point():
        raise HypermnesiaError(
            f"{what}: targets are class ids here and numbers in train; expected numbers in both"
        )
    if not bool(torch.isfinite(y).all()):
        row = int((~torch.isfinite(y)).nonzero()[0])
        raise HypermnesiaError(
            f"{what}: the target of sample {row} is {float(y[row])}; expected finite numbers: drop what is missing"
        )
    if bool((y == y[0]).all()):
        raise HypermnesiaError(f"{what}: all targets are {float(y[0]):g}; there is nothing to tell apart")


def _check_labels(what: str, y: Tensor, class_names: Sequence[str]) -> None:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= len(class_names):
        raise HypermnesiaError(
            f"{what}: label {low if low < 0 else high} does not fit the {len(class_names)} classes, "
            f"expected 0..{len(class_names) - 1}"
        )
    counts = torch.bincount(y, minlength=len(class_names)).tolist()
    missing = [f"{name!r}" for name, count in zip(class_names, counts, strict=True) if not count]
    if missing:
        listed = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise HypermnesiaError(
            f"{what}: no sample of class {listed}; every class needs samples in train and in test"
        )
