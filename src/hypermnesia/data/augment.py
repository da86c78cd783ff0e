"""Random changes of colour and shape of whole batches of images: brightness jitter, and AutoAugment's policy for CIFAR-10.

Results are those of Pillow for each image, bit for bit: values are cut to whole grey levels where Pillow cuts them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Op = Callable[[Tensor, Tensor], Tensor]
"""(uint8 (B, 3, H, W), magnitude float64 (B,)) → uint8 (B, 3, H, W)."""

_GREY = 128  # what a moved image leaves behind
_LUMA = (19595, 38470, 7471)  # ITU-R BT.601, in 65,536ths


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Images (B, C, H, W), each `factor` (B,) ≥ 0 as bright."""
    return _blend(torch.zeros_like(x), x, factor)


def _blend(start: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """start + factor · (x − start), cut to 0..255; factor 1 is `x`."""
    start = start.float()
    return (start + factor.float().view(-1, 1, 1, 1) * (x.float() - start)).clamp(0, 255).to(torch.uint8)


def _grey(x: Tensor) -> Tensor:
    """(B, 1, H, W) luma, uint8."""
    weights = torch.tensor(_LUMA, device=x.device).view(1, 3, 1, 1)
    return (((x.long() * weights).sum(1, keepdim=True) + 2**15) >> 16).to(torch.uint8)


def _colour(x: Tensor, change: Tensor) -> Tensor:
    return _blend(_grey(x).expand_as(x), x, 1 + change)


def _brightness(x: Tensor, change: Tensor) -> Tensor:
    return brightness(x, 1 + change)


def _contrast(x: Tensor, change: Tensor) -> Tensor:
    mean = (_grey(x).double().mean((1, 2, 3), keepdim=True) + 0.5).floor()
    return _blend(mean.expand(x.shape), x, 1 + change)


def _sharpness(x: Tensor, change: Tensor) -> Tensor:
    """Away from the mean over 3 × 3 pixels, in which the middle counts five times. The outermost pixels stay."""
    wide = x.long()
    ring = sum(
        wide[..., i : wide.shape[2] - 2 + i, j : wide.shape[3] - 2 + j] for i in range(3) for j in range(3)
    )
    smooth = x.clone()
    middle = (..., slice(1, -1), slice(1, -1))
    smooth[middle] = ((2 * (ring + 4 * wide[middle]) + 13) // 26).to(torch.uint8)
    return _blend(smooth, x, 1 + change)


def _invert(x: Tensor, _: Tensor) -> Tensor:
    return 255 - x


def _solarize(x: Tensor, least: Tensor) -> Tensor:
    return torch.where(x < least.view(-1, 1, 1, 1), x, 255 - x)


def _posterize(x: Tensor, bits: Tensor) -> Tensor:
    step = (2 ** (8 - bits)).long().view(-1, 1, 1, 1)
    return (x.long() // step * step).to(torch.uint8)


def _autocontrast(x: Tensor, _: Tensor) -> Tensor:
    low, high = (found((2, 3), keepdim=True).double() for found in (x.amin, x.amax))
    scale = torch.full_like(low, 255) / (high - low).clamp_min(
        1
    )  # not 255 / …: that multiplies by a reciprocal
    stretched = (x * scale - low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, x)


def _equalize(x: Tensor, _: Tensor) -> Tensor:
    """Each channel's grey levels spread evenly: its histogram, summed up, is the new level."""
    batch, channels, height, width = x.shape
    levels = x.long().view(batch * channels, -1)
    counts = torch.zeros(len(levels), 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    step = (height * width - counts.gather(1, levels.amax(1, keepdim=True))) // 255
    below = counts.cumsum(1) - counts
    table = torch.where(
        step > 0, (step // 2 + below) // step.clamp_min(1), torch.arange(256, device=x.device)
    )
    return table.gather(1, levels).clamp_max(255).to(torch.uint8).view_as(x)


def _translate_x(x: Tensor, share: Tensor) -> Tensor:
    return _moved(x, _matrix(share, 1, 0, share * x.shape[3], 0, 1, 0))


def _translate_y(x: Tensor, share: Tensor) -> Tensor:
    return _moved(x, _matrix(share, 1, 0, 0, 0, 1, share * x.shape[2]))


def _rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Counter-clockwise about the centre."""
    height, width = x.shape[-2:]
    angle = -torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    right = (width - width * cos - height * sin) / 2
    down = (height + width * sin - height * cos) / 2
    return _moved(x, _matrix(degrees, cos, sin, right, -sin, cos, down))


def _matrix(like: Tensor, *entries: Tensor | float) -> Tensor:
    """(B, 6)"""
    return torch.stack([torch.as_tensor(e, dtype=like.dtype).expand_as(like) for e in entries], 1)


def _moved(x: Tensor, matrix: Tensor) -> Tensor:
    """Pixel (i, j) comes from the pixel that holds (a·(i+½) + b·(j+½) + c, d·(i+½) + e·(j+½) + f), grey where there is none.
    `matrix`: (B, 6), used in 65,536ths of a pixel."""
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device).view(1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, -1)

    def source(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        a, b, c = (_fixed(v).view(-1, 1, 1).to(x.device) for v in (a, b, c + a / 2 + b / 2))
        return (a * columns + b * rows + c) >> 16

    across, down = source(*matrix[:, :3].unbind(1)), source(*matrix[:, 3:].unbind(1))
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    places = (down.clamp(0, height - 1) * width + across.clamp(0, width - 1)).flatten(1)
    found = x.flatten(2).gather(2, places.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)
    return torch.where(inside.unsqueeze(1), found, _GREY)


def _fixed(value: Tensor) -> Tensor:
    return (value * 2**16 + 0.5).floor().long()


def _shear_y(x: Tensor, slope: Tensor) -> Tensor:
    """Column i moves up by slope · (i + ½), between pixels by a cubic of its four neighbours in the column."""
    height, width = x.shape[-2:]
    slope = slope.view(-1, 1, 1).to(x.device)
    centres = torch.arange(width, device=x.device).view(1, 1, -1) + 0.5
    at = slope * centres + torch.arange(height, device=x.device).view(1, -1, 1) + 0.5
    inside = (at >= 0) & (at < height)
    first = (at - 0.5).floor()
    part = (at - 0.5 - first).unsqueeze(1)
    taps = [
        (first.long() + k).clamp(0, height - 1).unsqueeze(1).expand(-1, x.shape[1], -1, -1)
        for k in range(-1, 3)
    ]
    a, b, c, d = (x.gather(2, tap).double() for tap in taps)
    value = b + part * (c - a + part * (2 * (a - b) + c - d + part * (b - a + d - c)))
    return torch.where(inside.unsqueeze(1), value.clamp(0, 255).to(torch.uint8), _GREY)


_OPS: dict[str, Op] = {
    "invert": _invert,
    "contrast": _contrast,
    "rotate": _rotate,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "sharpness": _sharpness,
    "shear_y": _shear_y,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "colour": _colour,
    "brightness": _brightness,
    "solarize": _solarize,
}
_SIGNED = ("contrast", "rotate", "translate_x", "translate_y", "sharpness", "shear_y", "colour", "brightness")
"""Those whose magnitude is negative half the time."""


def magnitude(op: str, level: int) -> float:
    """What level 0..9 means to an operation."""
    share = level / 9
    if op in ("colour", "contrast", "sharpness", "brightness"):
        return 0.9 * share
    if op in ("translate_x", "translate_y"):
        return 150 / 331 * share
    return {
        "rotate": 30 * share,
        "shear_y": 0.3 * share,
        "solarize": 256 * (1 - share),
        "posterize": round(8 - 4 * share),
    }.get(op, 0.0)


CIFAR10 = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("colour", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 1)),
)
"""AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019, arXiv:1805.09501): pairs of (operation, probability, level 0..9). A
turned magnitude is the reference's of HyperMask and FeCAM: negative half the time, for rotations too."""


def autoaugment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Each image (B, 3, H, W), uint8, by one pair of `CIFAR10`, drawn at random, each of its two with its probability."""
    count = len(x)
    pair = torch.randint(len(CIFAR10), (count,), generator=rng)
    chance = torch.rand(2, count, generator=rng, dtype=torch.float64)
    sign = 2.0 * torch.randint(2, (2, count), generator=rng, dtype=torch.float64) - 1
    for place in range(2):
        ops, chances, levels = zip(*(chosen[place] for chosen in CIFAR10), strict=True)
        happens = chance[place] < torch.tensor(chances, dtype=torch.float64)[pair]
        sizes = [magnitude(op, level) for op, level in zip(ops, levels, strict=True)]
        size = torch.tensor(sizes, dtype=torch.float64)[pair]
        for name in dict.fromkeys(ops):
            which = torch.tensor([op == name for op in ops])[pair] & happens
            rows = which.nonzero().squeeze(1)
            if len(rows):
                signed = size * sign[place] if name in _SIGNED else size
                at = rows.to(x.device)
                x = x.index_copy(0, at, _OPS[name](x[at], signed[rows].to(x.device)))
    return x


def jitter(x: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Each image between 1 − amount and 1 + amount times as bright, uniformly; `amount` in 0..1."""
    factor = 1 + amount * (2 * torch.rand(len(x), generator=rng, dtype=torch.float64) - 1)
    return brightness(x, factor.to(x.device))
