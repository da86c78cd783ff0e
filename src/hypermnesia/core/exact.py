"""Sums of products that depend on no order: integers in place of floats.

A feature is rounded once to a multiple of 2⁻ˢ and held as an integer of at most 20 bits. Products of two have 40 bits, so
a sum of 2¹³ of them stays below 2⁵³: in that range float64 holds every integer, and a matrix product in float64 is exact
whatever order, blocks and threads it is computed in. Running sums are int64. Two sums over the same samples are therefore
equal to the bit, however the samples were split and ordered, and a sample that is subtracted has never been there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError

BITS = 20
"""Of a quantised feature, its sign excluded."""
MOST = 2**BITS - 1
ROWS = 2**12
"""Rows of one exact product."""
COLUMNS = 512
"""Of one block of a Gram matrix."""
MOST_SAMPLES = 2**22
"""Samples of a sum: 2²² products of 40 bits stay below 2⁶²."""


def quantised(x: Tensor, scale: int) -> Tensor:
    """x · 2^scale, rounded to whole numbers and cut to ±(2²⁰ − 1); float64."""
    return (x.double() * 2.0**scale).round().clamp(-MOST, MOST)


@dataclass
class Moments:
    """Exact first and second moments of features (N, d) with classes. Changed in place by `add`."""

    gram: Tensor
    """(d, d) int64: Σ q qᵀ over all samples; or (C, d, d), of each class."""
    sums: Tensor
    """(C, d) int64: Σ q of each class."""
    counts: Tensor
    """(C,) int64."""

    @property
    def seen(self) -> Tensor:
        """(C,) bool: classes with samples."""
        return self.counts > 0


def empty(classes: int, width: int, by_class: bool = False) -> Moments:
    """The moments of no samples; `by_class`: with second moments of each class."""
    return Moments(
        torch.zeros(*([classes] if by_class else []), width, width, dtype=torch.int64),
        torch.zeros(classes, width, dtype=torch.int64),
        torch.zeros(classes, dtype=torch.int64),
    )


def add(moments: Moments, q: Tensor, y: Tensor, sign: int = 1) -> Moments:
    """Add samples, or with `sign` −1 take them out again. q: (N, d) from `quantised`, y: (N,) int64 class ids.

    Raises `HypermnesiaError` where more is taken out than was put in, and beyond `MOST_SAMPLES`.
    """
    counts = moments.counts + sign * torch.bincount(y, minlength=len(moments.counts))
    if bool((counts < 0).any()):
        raise HypermnesiaError("samples are to be taken out that were never put in")
    if int(counts.sum()) > MOST_SAMPLES:
        raise HypermnesiaError(f"more than {MOST_SAMPLES} samples cannot be summed up exactly")
    if moments.gram.ndim == 3:
        for c in y.unique().tolist():
            _add_products(moments.gram[c], q[y == c], sign)
    else:
        _add_products(moments.gram, q, sign)
    moments.sums.index_add_(0, y, sign * q.to(torch.int64))
    moments.counts.copy_(counts)
    return moments


def _add_products(gram: Tensor, q: Tensor, sign: int) -> None:
    """gram += sign · qᵀ q, block by block: half of them, since the other half is the same turned over."""
    columns = [slice(start, start + COLUMNS) for start in range(0, q.shape[1], COLUMNS)]
    for rows in q.split(ROWS):
        for i, a in enumerate(columns):
            for b in columns[i:]:
                product = (rows[:, a].T @ rows[:, b]).to(torch.int64)
                gram[a, b].add_(product, alpha=sign)
                if a != b:
                    gram[b, a].add_(product.T, alpha=sign)


def projected(q: Tensor, weight: Tensor, shift: int, least: int = 0) -> Tensor:
    """q W / 2^shift rounded down, cut to `least` .. 2²⁰ − 1, as whole numbers (N, M) float64; exact as well.

    `weight`: (d, M) float64 of whole numbers of at most 2²⁰; d ≤ 2¹² keeps each sum below 2⁵³. `least`: 0 is a
    rectifier, −`MOST` keeps the sign.
    """
    return (q @ weight).mul_(2.0**-shift).floor_().clamp_(least, MOST)


def grown(moments: Moments, classes: int) -> Moments:
    """The same with rows for more classes."""
    more = classes - len(moments.counts)
    if more <= 0:
        return moments
    pad = torch.nn.functional.pad
    gram = pad(moments.gram, (0, 0, 0, 0, 0, more)) if moments.gram.ndim == 3 else moments.gram
    return Moments(gram, pad(moments.sums, (0, 0, 0, more)), pad(moments.counts, (0, more)))
