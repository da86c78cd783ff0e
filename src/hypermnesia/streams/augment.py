"""From raw uint8 to what a network sees: conversion, normalisation, augmentation of whole batches."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.errors import HypermnesiaError


@dataclass(frozen=True)
class Preprocess:
    """Called `preprocess(raw, generator)`; see `__call__`."""

    mean: tuple[float, ...] = (0.0,)
    """Subtracted from pixels in 0..1: one number for each channel, or one for all."""
    std: tuple[float, ...] = (1.0,)
    """Divides what is left; positive, as many as `mean`."""
    crop: int = 0
    """Random crop of the image's own size after padding with so many black pixels on every side; 0 = none."""
    flip: bool = False
    """Each image is mirrored left to right with probability ½."""

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
        return bool(self.crop or self.flip)

    def __call__(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """uint8 (B, C, H, W) → float32 (B, C, H, W); int64 tokens (B, L) are returned as they are.

        Augments only with a `generator` (CPU). How many numbers it draws depends on B alone.
        """
        if raw.dtype == torch.int64:
            return raw
        if generator is not None:
            raw = self.augment(raw, generator)
        x = raw / 255
        if self._shifts:
            x.sub_(_per_channel(self.mean, x.device))
        if self._scales:
            x.div_(_per_channel(self.std, x.device))
        return x

    def augment(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """A random crop and flip of each image: uint8 (B, C, H, W) → uint8 (B, C, H, W)."""
        if not self.draws:
            return raw
        offsets = torch.zeros(2, len(raw), dtype=torch.int64)
        flipped = torch.zeros(len(raw), dtype=torch.bool)
        if self.crop:
            offsets = torch.randint(2 * self.crop + 1, (2, len(raw)), generator=generator)
        if self.flip:
            flipped = torch.randint(2, (len(raw),), generator=generator).bool()
        return crop_and_flip(raw, self.crop, offsets, flipped)


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
