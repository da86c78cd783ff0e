"""The image corruptions of NoisyCIFAR (partial hypernetworks, arXiv:2306.10724), on batches (B, C, H, W).

The published stream corrupts float images between their conversion and their normalisation; here the result
is rounded to uint8 again, which moves a pixel by at most half a grey level.
"""

from collections.abc import Callable
from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor


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
