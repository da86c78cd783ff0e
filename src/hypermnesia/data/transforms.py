"""Deterministic transforms of whole batches: what makes one task's images differ from another's.

A transform is a family with numbered members (permutation 0, 1, ...; angle 0, 1, ...), and each sample says
which member it wants: an int when all samples of a part want the same one, else a tensor of codes (B,). One
batch may so mix samples of several tasks without a loop, and 100 tasks share one transform and one set of
images.

The corruptions of NoisyCIFAR (partial hypernetworks, arXiv:2306.10724) act on batches (B, C, H, W). The published stream
corrupts float images between their conversion and their normalisation; here the result is rounded to uint8 again, which
moves a pixel by at most half a grey level.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.rng import generator
from hypermnesia.data.options import Interpolation

Code = int | Tensor


class Transform(Protocol):
    """Called `transform(x, code)`: uint8 (B, C, H, W), an int or codes (B,) → uint8 (B, C, H', W').

    Where it has an attribute `last` that is true, training images are augmented before it. What a memory stores and augments
    anew is transformed first all the same.
    """

    def __call__(self, x: Tensor, code: Code) -> Tensor: ...

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample after the transform."""
        ...

    def describe(self) -> dict[str, Any]:
        """A JSON-able account of all members: equal accounts mean equal transforms."""
        ...

    def to(self, device: torch.device | str) -> "Transform": ...


@dataclass(frozen=True)
class Identity:
    """The samples as they are."""

    def __call__(self, x: Tensor, code: Code) -> Tensor:
        return x

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def describe(self) -> dict[str, Any]:
        return {"kind": "identity"}

    def to(self, device: torch.device | str) -> "Identity":
        return self


@dataclass(frozen=True)
class Pad:
    """`margin` black pixels on every side, the same for every code."""

    margin: int

    def __call__(self, x: Tensor, code: Code) -> Tensor:
        return F.pad(x, [self.margin] * 4)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = shape
        return channels, height + 2 * self.margin, width + 2 * self.margin

    def describe(self) -> dict[str, Any]:
        return {"kind": "pad", "margin": self.margin}

    def to(self, device: torch.device | str) -> "Pad":
        return self


@dataclass(frozen=True, eq=False)
class Permutations:
    """Pixel j of the result is pixel `table[code, j]` of the image; the channels of a pixel stay together. Of vectors
    (B, F) feature j.

    `table`: int64 (members, H·W), each row a permutation of 0..H·W−1, pixels counted row by row.
    """

    table: Tensor

    @classmethod
    def draw(cls, members: int, pixels: int, seed: int, first_permuted: bool) -> "Permutations":
        """One random permutation for each member; member t depends on `seed` and t alone."""
        rows = [torch.randperm(pixels, generator=generator(seed, "permutation", t)) for t in range(members)]
        if not first_permuted:
            rows[0] = torch.arange(pixels)
        return cls(torch.stack(rows))

    def __call__(self, x: Tensor, code: Code) -> Tensor:
        if x.ndim == 2:  # vectors: as images of one channel
            return self(x.unsqueeze(1), code).squeeze(1)
        flat = x.flatten(2)
        order = self.table[code].view(-1, 1, flat.shape[2])
        # For a single code as well: on a CPU gather is several times faster than index_select.
        return flat.gather(2, order.expand_as(flat)).view_as(x)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def describe(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.table.cpu().numpy().tobytes()).hexdigest()
        return {"kind": "permutations", "members": len(self.table), "sha256": digest}

    def to(self, device: torch.device | str) -> "Permutations":
        return Permutations(self.table.to(device))


@dataclass(frozen=True, eq=False)
class Rotations:
    """Turns by `degrees[code]`, counter-clockwise about the centre, black outside.

    `degrees`: float64 (members,). `interpolation`: "nearest" takes the value of the pixel that the centre of the new one
    comes from, as Pillow and with it the published streams do; "bilinear" weighs the four around it.
    """

    degrees: Tensor
    interpolation: Interpolation = "nearest"

    def __call__(self, x: Tensor, code: Code) -> Tensor:
        height, width = x.shape[-2:]
        angle = torch.deg2rad(self.degrees[code]).reshape(-1)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # The grid counts from -1 to 1 along each side, so on oblong images the axes are scaled.
        ratio = height / width
        theta = torch.stack([cos, -sin * ratio, zero, sin / ratio, cos, zero], 1).view(-1, 2, 3).float()
        grid = F.affine_grid(theta, [len(theta), 1, height, width], align_corners=False)
        grid = grid.expand(len(x), -1, -1, -1)
        turned = F.grid_sample(x.float(), grid, mode=self.interpolation, align_corners=False)
        return turned.round_().to(torch.uint8)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def describe(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.degrees.cpu().numpy().tobytes()).hexdigest()
        members = {"members": len(self.degrees), "sha256": digest}
        return {"kind": "rotations", "interpolation": self.interpolation, **members}

    def to(self, device: torch.device | str) -> "Rotations":
        return replace(self, degrees=self.degrees.to(device))


@dataclass(frozen=True)
class Corruptions:
    """`KINDS[kinds[code]]` of each image; in training of the image as it is cropped and flipped."""

    kinds: tuple[str, ...]
    last: ClassVar[bool] = True

    def __call__(self, x: Tensor, code: Code) -> Tensor:
        if isinstance(code, int):
            return KINDS[self.kinds[code]](x)
        out = x
        for member, kind in enumerate(self.kinds):
            out = torch.where((code == member).view(-1, 1, 1, 1), KINDS[kind](x), out)
        return out

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def describe(self) -> dict[str, Any]:
        return {"kind": "corruptions", "members": list(self.kinds), "after": "augmentation"}

    def to(self, device: torch.device | str) -> "Corruptions":
        return self


@dataclass(frozen=True, eq=False)
class Chain:
    """The transforms one after the other, all with the same code."""

    links: Sequence[Transform]

    def __call__(self, x: Tensor, code: Code) -> Tensor:
        for link in self.links:
            x = link(x, code)
        return x

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for link in self.links:
            shape = link.shape(shape)
        return shape

    def describe(self) -> dict[str, Any]:
        return {"kind": "chain", "links": [link.describe() for link in self.links]}

    def to(self, device: torch.device | str) -> "Chain":
        return Chain([link.to(device) for link in self.links])


def solarize(x: Tensor) -> Tensor:
    """Pixels of at least half the full brightness are inverted."""
    return torch.where(x >= 128, 255 - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Each channel of each image is stretched to 0..255; a channel of one value stays as it is."""
    low = x.amin((2, 3), keepdim=True).float()
    high = x.amax((2, 3), keepdim=True).float()
    span = high - low
    stretched = (x.float() - low) * (255 / span.clamp_min(1))
    return torch.where(span > 0, stretched.round(), x.float()).to(torch.uint8)


def grayscale(x: Tensor) -> Tensor:
    """Luma by ITU-R BT.601 (0.2989 R + 0.587 G + 0.114 B), in all three channels. Grey images stay."""
    if x.shape[1] == 1:
        return x
    weights = torch.tensor([0.2989, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
    luma = (x.float() * weights).sum(1, keepdim=True)
    return luma.round().to(torch.uint8).expand_as(x).contiguous()


def gaussian_blur(x: Tensor, sigma: float, size: int = 5) -> Tensor:
    """Gaussian of standard deviation `sigma` pixels, cut to `size` × `size` (odd); edges are mirrored."""
    bell = [exp(-0.5 * ((i - size // 2) / sigma) ** 2) for i in range(size)]
    weights = [value / sum(bell) for value in bell]
    height, width = x.shape[-2:]
    # Shifted sums, first along the rows: on a CPU several times faster than a convolution channel by channel.
    out = F.pad(x.float(), [size // 2] * 4, mode="reflect")
    out = _weighted([out[..., i : i + width] for i in range(size)], weights)
    out = _weighted([out[..., i : i + height, :] for i in range(size)], weights)
    return out.round().clamp(0, 255).to(torch.uint8)


def _weighted(terms: list[Tensor], weights: list[float]) -> Tensor:
    total = terms[0] * weights[0]
    for term, weight in zip(terms[1:], weights[1:], strict=True):
        total.add_(term, alpha=weight)
    return total


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "solarize": solarize,
    "blur-0.9": lambda x: gaussian_blur(x, 0.9),
    "autocontrast-gray-blur-0.65": lambda x: gaussian_blur(grayscale(autocontrast(x)), 0.65),
}
"""NoisyCIFAR's experiences in their order. The last one's sigma, published as 0.6 to 0.7, is fixed."""
