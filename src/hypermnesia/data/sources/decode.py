"""Encoded images to one uint8 tensor, without trusting them, and samples of any kind to a source.

Every header is read before anything is decoded or allocated: an image may not claim more than `MAX_PIXELS`,
nor all of them together more than `MAX_BYTES`. Only plain raster formats are opened, so no file can reach a
decoder that runs other programs.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.waiting import counted
from hypermnesia.data.sources.cache import directory
from hypermnesia.data.sources.source import Images, Source
from hypermnesia.data.sources.stratify import hold_out
from hypermnesia.data.sources.text import TextForm, tokenise

MAX_PIXELS = 64 * 2**20
"""Of one encoded image."""
MAX_BYTES = 32 * 2**30
"""Of all decoded images of a source together."""
SHARE = 0.25
"""Of the machine's memory, up to which decoded images lie in memory of their own."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
GRAY = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
COLOR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Survey:
    """What the headers say: image sizes (width, height) with the number of the first image that has each."""

    sizes: dict[tuple[int, int], int]
    gray: bool
    """Every image is grey."""


def decode(images: Sequence[bytes | Path], place: Callable[[int], str], size: int | None) -> Tensor:
    """uint8 (N, 1, H, W) if all images are grey, else (N, 3, H, W).

    With `size`, each image is cut in its middle to a square and scaled to `size` × `size` pixels (antialiased
    bilinear); without, all must have one size. Of animations the first frame counts, transparency is dropped,
    palettes and CMYK become RGB, 16-bit grey loses its lower 8 bits, EXIF orientation is not applied.
    `place(i)` says where image i came from. Raises `HypermnesiaError`, which names that place, for an image
    that is damaged, too large or of an unknown format.
    """
    with warnings.catch_warnings():
        # Pillow's own size limit is a warning and lies above ours; what it finds odd in metadata is not used.
        warnings.simplefilter("ignore")
        found = survey(images, place)
        return _fill(images, place, size, found)


def survey(images: Sequence[bytes | Path], place: Callable[[int], str]) -> Survey:
    """Reads all headers and nothing more."""
    sizes: dict[tuple[int, int], int] = {}
    gray = True
    for i, image in enumerate(counted(images, "looking at images")):
        with _opened(image, i, place) as picture:
            if picture.mode not in GRAY + COLOR:
                raise HypermnesiaError(
                    f"{place(i)}: the image has mode {picture.mode!r}; "
                    f"expected one of {', '.join(GRAY + COLOR)}"
                )
            sizes.setdefault(picture.size, i)
            gray = gray and picture.mode in GRAY
    return Survey(sizes, gray)


def _fill(
    images: Sequence[bytes | Path], place: Callable[[int], str], size: int | None, found: Survey
) -> Tensor:
    """Allocates the tensor of `decode` and decodes into it."""
    if size is None and len(found.sizes) > 1:
        (first, a), (second, b) = list(found.sizes.items())[:2]
        raise HypermnesiaError(
            f"images differ in size: {place(a)} has {first[0]}×{first[1]} pixels, {place(b)} has "
            f"{second[0]}×{second[1]}; set stream.size, for example stream.size=32, to bring all to one"
        )
    width, height = (size, size) if size is not None else next(iter(found.sizes))
    shape = (len(images), 1 if found.gray else 3, height, width)
    needed = prod(shape)
    if needed > MAX_BYTES:
        raise HypermnesiaError(
            f"{len(images)} images of {width}×{height} pixels need {needed / 2**30:.1f} GiB, more than the "
            f"{MAX_BYTES / 2**30:.0f} GiB allowed; set a smaller stream.size"
        )
    x = _room(shape)
    out = x.numpy()
    for i, image in enumerate(counted(images, "decoding images")):
        with _opened(image, i, place) as picture:
            seen = pixels(picture, found.gray, size)
        out[i] = seen if found.gray else seen.transpose(2, 0, 1)
    return x


def _room(shape: tuple[int, ...]) -> Tensor:
    """Memory for samples, uint8. What takes more than `SHARE` of the machine's is that of a nameless file beside the decoded
    data: its pages leave memory when others need it, and are read again where a batch asks for them."""
    needed = prod(shape)
    fits = needed <= SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if fits or not Path("/proc/self/fd").exists():
        return torch.empty(shape, dtype=torch.uint8)
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:
        os.posix_fallocate(
            file.fileno(), 0, needed
        )  # a full disk is told now, not by a signal on some later page
        name = f"/proc/self/fd/{file.fileno()}"
        return torch.from_file(name, shared=True, size=needed, dtype=torch.uint8).view(shape)


@contextmanager
def _opened(image: bytes | Path, i: int, place: Callable[[int], str]) -> Iterator[Image.Image]:
    """The image with its header read and its size within bounds; what goes wrong inside names its place."""
    try:
        with Image.open(BytesIO(image) if isinstance(image, bytes) else image, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise HypermnesiaError(_too_large(place(i), f"{width}×{height}"))
            yield picture
    except HypermnesiaError:
        raise
    except Image.DecompressionBombError as error:
        raise HypermnesiaError(_too_large(place(i), str(error))) from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise HypermnesiaError(
            f"{place(i)}: the image cannot be read ({type(error).__name__}: {error}); expected an undamaged "
            f"file of format {', '.join(FORMATS)}"
        ) from error


def with_channels(x: Tensor, channels: int) -> Tensor:
    """uint8 images (N, 1 or 3, H, W) in so many channels, 1 or 3: grey is ITU-R 601 luma, rounded."""
    if x.shape[1] == channels:
        return x
    if channels == 3 and x.shape[1] == 1:
        return x.expand(-1, 3, -1, -1).contiguous()
    if channels != 1 or x.shape[1] != 3:
        raise HypermnesiaError(
            f"images of {x.shape[1]} channels cannot be brought to {channels}: expected 1 and 3"
        )
    weights = torch.tensor([19595, 38470, 7471]).view(1, 3, 1, 1)  # in 1/65536
    luma = (x.int() * weights).sum(1, keepdim=True) + 32768
    return luma.div(65536, rounding_mode="floor").to(torch.uint8)


def _too_large(place: str, size: str) -> str:
    return f"{place}: the image is too large ({size}); at most {MAX_PIXELS} pixels are decoded"


def pixels(picture: Image.Image, gray: bool, size: int | None) -> np.ndarray:
    """uint8 (H, W) if `gray`, else (H, W, 3)."""
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    if picture.mode != ("L" if gray else "RGB"):
        picture = picture.convert("L" if gray else "RGB")
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


TEST_SHARE = 0.2
"""Of each class's samples, when a source has no test part of its own."""


@dataclass(frozen=True)
class RawSamples:
    """Samples with labels as they come.

    `images`: encoded bytes (of texts, UTF-8), paths of files, or samples decoded already, as `Images.x`. `labels`: int64
    (N,), not negative; or float32 (N,), numbers to be told. `files`: name and number of rows of each file that `images` were
    read from, in order; not used for paths.
    """

    images: Sequence[bytes | Path] | Tensor
    labels: np.ndarray
    files: tuple[tuple[str, int], ...] = ()
    texts: bool = False
    """Whether these are texts that are no tokens yet."""

    def place(self, i: int) -> str:
        """Where sample i came from, for messages."""
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
    train: RawSamples,
    test: RawSamples | None,
    class_names: Sequence[str] | None,
    size: int | None,
    text: TextForm,
) -> Source:
    """Decodes everything (images to `size`, texts to `text`) and numbers the classes 0..C−1. Of labels that are numbers
    `class_names` holds the name.

    `class_names[label]` names the labels (default: their numbers). Labels that no training sample has are
    left out and the others move up, so gaps are harmless. Without `test`, a fifth of each class's samples is
    cut from train by a fixed seed, the same for all runs. `size`: see `decode`.
    """
    if not len(train.labels):
        raise HypermnesiaError(f"{name}: there are no training {'texts' if train.texts else 'samples'}")
    if train.labels.dtype.kind == "f":
        labels = train.labels if test is None else np.concatenate([train.labels, test.labels])
        names = tuple(class_names or ("target",))
    else:
        labels, names = _contiguous(name, train, test, class_names)
    y = torch.from_numpy(labels)
    if test is None and not y.is_floating_point() and (counts := torch.bincount(y)).min() < 2:
        raise HypermnesiaError(
            f"{name}: class {names[int(counts.argmin())]!r} has one sample only; where no test part is given each class "
            "needs two or more, of which a fifth is put aside"
        )
    x = _decoded(name, train, test, size, text)
    for values, what in ((x, "a feature"), (y, "the target")):
        if values.is_floating_point() and not bool((finite := torch.isfinite(values)).all()):
            odd = (~finite).nonzero()[0]
            raise HypermnesiaError(
                f"{_place(int(odd[0]), train, test)}: {what} is {float(values[tuple(odd)])}; expected finite numbers: fill in or "
                "drop what is missing"
            )
    if test is not None:
        cut = len(train.images)
        return Source(name, Images(x[:cut], y[:cut]), Images(x[cut:], y[cut:]), names)
    kept, held = hold_out(y, TEST_SHARE, generator(0, "source", "test"))
    return Source(name, Images(x[kept], y[kept]), Images(x[held], y[held]), names)


def _decoded(
    name: str, train: RawSamples, test: RawSamples | None, size: int | None, text: TextForm
) -> Tensor:
    """The samples of train, then test."""
    parts = [part.images for part in (train, test) if part is not None]
    tensors = [images for images in parts if isinstance(images, Tensor)]
    if tensors:
        kinds = [f"{images.dtype} {tuple(images.shape[1:])}" for images in tensors]
        if len(tensors) < len(parts) or len(set(kinds)) > 1:
            raise HypermnesiaError(
                f"{name}: train and test samples differ ({' and '.join(kinds)}); expected one shape and dtype"
            )
        return torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    images = [image for part in parts if not isinstance(part, Tensor) for image in part]

    def origin(i: int) -> str:
        return _place(i, train, test)

    return tokenise(images, origin, text) if train.texts else decode(images, origin, size)


def _place(i: int, train: RawSamples, test: RawSamples | None) -> str:
    """Where sample i of train, then test, came from."""
    return train.place(i) if i < len(train.images) or test is None else test.place(i - len(train.images))


def _contiguous(
    name: str, train: RawSamples, test: RawSamples | None, class_names: Sequence[str] | None
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
