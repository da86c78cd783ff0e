"""From raw samples to what a network sees: conversion, normalisation, augmentation of whole batches."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.augment import autoaugment, jitter
from hypermnesia.data.options import AutoAugment, Normalize
from hypermnesia.data.sources.source import Images, Source


@dataclass(frozen=True)
class Preprocess:
    """Called `preprocess(raw, generator)`; see `__call__`."""

    mean: tuple[float, ...] = (0.0,)
    """Subtracted from pixels in 0..1: one number for each channel, or one for all. Of vectors: one for each feature."""
    std: tuple[float, ...] = (1.0,)
    """Divides what is left; positive, as many as `mean`."""
    crop: int = 0
    """Random crop of the image's own size after padding with so many black pixels on every side; 0 = none."""
    flip: bool = False
    """Each image is mirrored left to right with probability ½."""
    jitter: float = 0.0
    """Each image is made 1 − jitter to 1 + jitter times as bright; 0..1."""
    autoaugment: AutoAugment | None = None
    """The policy of AutoAugment that changes colour images last."""

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise HypermnesiaError(
                f"Preprocess: mean {self.mean}, std {self.std}; expected one of each per channel, std above 0"
            )
        if self.crop < 0:
            raise HypermnesiaError(f"Preprocess: crop {self.crop}; expected a padding of 0 or more pixels")

    @cached_property
    def _shifts(self) -> bool:
        return any(self.mean)

    @cached_property
    def _scales(self) -> bool:
        return any(value != 1 for value in self.std)

    @property
    def draws(self) -> bool:
        """Whether images are changed at random when a generator is given."""
        return bool(self.crop or self.flip or self.repaints)

    @property
    def repaints(self) -> bool:
        """Whether more is changed at random than where a pixel stands."""
        return bool(self.jitter or self.autoaugment)

    def __call__(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images (B, C, H, W) of 0..255, uint8 or generated, → float32 (B, C, H, W); float32 vectors (B, F) → float32 (B, F);
        int64 tokens (B, L) are returned as they are.

        Augments images only, and with a `generator` (CPU) only. How many numbers it draws depends on B alone.
        """
        if raw.dtype == torch.int64:
            return raw
        if raw.ndim == 2:
            mean, std = (_per_channel(values, raw.device).view(1, -1) for values in (self.mean, self.std))
            return (raw - mean) / std
        if generator is not None:
            raw = self.augment(raw, generator)
        x = raw / 255
        if self._shifts:
            x.sub_(_per_channel(self.mean, x.device))
        if self._scales:
            x.div_(_per_channel(self.std, x.device))
        return x

    def augment(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Each image at random cropped, flipped, made brighter or darker, and changed by AutoAugment's policy, as far as these
        are on and in this order: uint8, or generated, (B, C, H, W) → the same; whole grey levels where it is painted anew."""
        if self.crop or self.flip:
            raw = crop_and_flip(raw, self.crop, *self.choices(len(raw), generator))
        if self.repaints and raw.is_floating_point():
            raw = raw.round().to(torch.uint8)
        if self.jitter:
            raw = jitter(raw, self.jitter, generator)
        return autoaugment(raw, generator) if self.autoaugment else raw

    def choices(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """How `augment` crops and flips so many images: first row and column of each crop, int64 (2, count), and whether each is
        mirrored, bool (count,)."""
        offsets = torch.zeros(2, count, dtype=torch.int64)
        flipped = torch.zeros(count, dtype=torch.bool)
        if self.crop:
            offsets = torch.randint(2 * self.crop + 1, (2, count), generator=generator)
        if self.flip:
            flipped = torch.randint(2, (count,), generator=generator).bool()
        return offsets, flipped


def crop_and_flip(raw: Tensor, padding: int, offsets: Tensor, flipped: Tensor) -> Tensor:
    """Image i, padded, cut to its old size from row `offsets[0, i]` and column `offsets[1, i]` on, then
    mirrored left to right where `flipped[i]`.

    One gather for both: pixels are addressed by their place in the flattened padded image.
    """
    batch, channels, height, width = raw.shape
    padded = F.pad(raw, [padding] * 4)
    offsets = offsets.to(raw.device, non_blocking=True)
    flipped = flipped.to(raw.device, non_blocking=True)
    rows = offsets[0].unsqueeze(1) + torch.arange(height, device=raw.device)
    columns = torch.arange(width, device=raw.device)
    columns = offsets[1].unsqueeze(1) + torch.where(flipped.unsqueeze(1), width - 1 - columns, columns)
    places = rows.unsqueeze(2) * padded.shape[3] + columns.unsqueeze(1)
    places = places.view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, places).view(raw.shape)


@lru_cache(maxsize=64)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, C, 1, 1) on `device`, kept: copying it there for every batch would wait for the device."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Normalisation:
    """A data set's constants, and which of them a benchmark uses by itself.

    `mean`, `std`: what "standard" normalisation means, None for those of the training images. `crop`, `flip`:
    as in `Preprocess`, where augmentation is on; `crop` None: an eighth of the image's side, `flip` None:
    colour images only, because mirrored characters mean something else.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: int | None = None
    flip: bool | None = False
    normalize: Normalize = "unit"
    augment: bool = False

    def preprocess(self, source: Source, normalize: Normalize | None, augment: bool | None) -> Preprocess:
        """The preprocessing of images or vectors; arguments that are None leave it to the benchmark.

        Vectors are standardised unless `normalize` is "unit", which leaves them as they are.
        """
        kind = self.normalize if normalize is None else normalize
        if source.kind == "vectors":
            if kind == "imagenet":
                raise HypermnesiaError(
                    f"stream.normalize=imagenet is for colour images; the samples of {source.name} are vectors: take "
                    "standard or unit"
                )
            return Preprocess() if normalize == "unit" else standardised(source)
        if kind == "standard":
            if self.mean is None or self.std is None:
                mean, std = statistics(source)
            else:
                mean, std = self.mean, self.std
        elif kind == "imagenet":
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        else:
            mean, std = (0.0,), (1.0,)
        if len(mean) not in (1, source.shape[0]):
            raise HypermnesiaError(
                f"stream.normalize={kind} is for {len(mean)} channels; the images of {source.name} have "
                f"{source.shape[0]}"
            )
        if not (self.augment if augment is None else augment):
            return Preprocess(mean, std)
        crop = max(1, source.shape[-1] // 8) if self.crop is None else self.crop
        flip = source.shape[0] == 3 if self.flip is None else self.flip
        return Preprocess(mean, std, crop, flip)


def standardised(source: Source) -> Preprocess:
    """Each feature of vectors less its mean, over its standard deviation, both of the training part.

    In float64; a feature of one value counts as deviation 1.
    """
    return standardisation(source.train.x)


def standardisation(vectors: Tensor) -> Preprocess:
    """The same of vectors (N, F)."""
    x = vectors.double()
    mean = x.mean(0)
    std = (x - mean).square().mean(0).sqrt()
    std = torch.where(std > 1e-12 * mean.abs().clamp_min(1e-300), std, 1.0)
    return Preprocess(tuple(mean.tolist()), tuple(std.tolist()))


def standardised_source(source: Source) -> Source:
    """The source with standardised vectors, for streams that mix the features."""
    preprocess = standardised(source)
    train, test = (Images(preprocess(part.x), part.y) for part in (source.train, source.test))
    return replace(source, train=train, test=test)


def usual(source: Source) -> Preprocess:
    """What is done to samples where nothing is said: vectors are standardised, pixels brought to 0..1."""
    return standardised(source) if source.kind == "vectors" else Preprocess()


def statistics(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of the training images, as fractions of full brightness.

    From counts of the 256 values, so exact and without a float copy; a channel of one value counts as
    deviation 1.
    """
    means, deviations = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel in source.train.x.unbind(1):
        share = torch.zeros(256, dtype=torch.float64)
        for block in channel.split(4096):  # bincount makes int64 copies
            share += torch.bincount(block.flatten(), minlength=256)
        share /= share.sum()
        mean = float((share * values).sum())
        means.append(mean)
        deviations.append(float((share * (values - mean) ** 2).sum().sqrt()) or 1.0)
    return tuple(means), tuple(deviations)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DIGITS = Normalisation(crop=1)
MNIST = Normalisation((0.1307,), (0.3081,), crop=4)
FASHION = Normalisation((0.2860,), (0.3530,), crop=4, flip=True)
CIFAR10 = Normalisation(
    (0.4914, 0.4822, 0.4465),
    (0.2470, 0.2435, 0.2615),
    crop=4,
    flip=True,
    normalize="standard",
    augment=True,
)
CIFAR100 = replace(CIFAR10, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
CIFAR100_PARTIAL = replace(CIFAR10, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))
"""As in the partial-hypernetwork experiments (arXiv:2306.10724)."""
TINY = replace(CIFAR10, mean=(0.4802, 0.4480, 0.3975), std=(0.2770, 0.2691, 0.2821))
TINY_PARTIAL = replace(CIFAR10, std=(0.2023, 0.1994, 0.2010), crop=0)
"""As in the partial-hypernetwork experiments: CIFAR-10's constants, flips only."""
TINY_MASKS = replace(TINY, mean=IMAGENET_MEAN, std=IMAGENET_STD, augment=False)
"""As in the HyperMask experiments (arXiv:2310.00113): ImageNet's constants, nothing augmented."""
