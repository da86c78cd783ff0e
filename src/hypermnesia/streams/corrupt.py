"""The image corruptions of NoisyCIFAR (partial hypernetworks, arXiv:2306.10724), on batches (B, C, H, W).

The published stream corrupts float images between their conversion and their normalisation; here the result
is rounded to uint8 again, which moves a pixel by at most half a grey level.
"""

from collections.abc import Callable

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
    offsets = torch.arange(size, device=x.device) - size // 2
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    channels = x.shape[1]
    out = F.pad(x.float(), [size // 2] * 4, mode="reflect")
    out = F.conv2d(out, weights.view(1, 1, 1, size).repeat(channels, 1, 1, 1), groups=channels)
    out = F.conv2d(out, weights.view(1, 1, size, 1).repeat(channels, 1, 1, 1), groups=channels)
    return out.round().clamp(0, 255).to(torch.uint8)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "solarize": solarize,
    "blur-0.9": lambda x: gaussian_blur(x, 0.9),
    "autocontrast-gray-blur-0.65": lambda x: gaussian_blur(grayscale(autocontrast(x)), 0.65),
}
"""NoisyCIFAR's experiences in their order. The last one's sigma, published as 0.6 to 0.7, is fixed."""
