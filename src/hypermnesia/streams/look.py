"""How a data set's images are normalised and augmented."""

from dataclasses import dataclass, replace

import torch

from hypermnesia.errors import HypermnesiaError
from hypermnesia.streams.augment import Preprocess
from hypermnesia.streams.options import Normalize
from hypermnesia.streams.source import Source


@dataclass(frozen=True)
class Look:
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
        """The preprocessing of `source`; arguments that are None leave it to the benchmark."""
        kind = self.normalize if normalize is None else normalize
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

DIGITS = Look(crop=1)
MNIST = Look((0.1307,), (0.3081,), crop=4)
FASHION = Look((0.2860,), (0.3530,), crop=4, flip=True)
CIFAR10 = Look(
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
