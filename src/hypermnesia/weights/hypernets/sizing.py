"""Widths of a generator from the share of its target's numbers that it shall have: what hypnettorch's users search by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, prod, sqrt
from typing import Any, TypeVar

import torch

from hypermnesia.core.errors import HypermnesiaError

NEAR = 0.05
"""Relative difference between the share asked for and the one reached that is borne."""
MOST_OF_TRUNK = 0.25
"""Share of a chunked generator that its hidden layers may take: in hypnettorch's example they take an eighth."""
STEP = 2**0.25
"""Widths are tried in proportions this far apart."""
AROUND = 64
"""Chunk sizes that are tried on either side of the one that fits but for rounding."""
Options = TypeVar("Options")


def numbers(shapes: Mapping[str, torch.Size]) -> int:
    """Numbers of all tensors of these shapes."""
    return sum(prod(shape) for shape in shapes.values())


def scaled(options: Options, factor: float) -> Options:
    """The options with all widths times `factor`, at least 1."""
    widths = {
        name: tuple(max(1, round(factor * width)) for width in given)
        for name in ("hidden", "channels")
        if (given := getattr(options, name, ()))
    }
    return replace(options, **widths)  # pyright: ignore[reportArgumentType, reportCallIssue]


def by_widths(options: Any, shapes: Mapping[str, torch.Size]) -> Any:
    """The options with their widths in the proportions that were given, so that what they build has as nearly as possible
    `options.compression` × the numbers in `shapes`."""
    asked, total = options.compression, numbers(shapes)
    plain = replace(options, compression=None)

    def share(factor: float) -> float:
        with torch.device("meta"):  # no memory, no values
            built = replace(scaled(plain, factor), **_without_start(plain)).build(shapes, torch.Generator())
        return numbers({name: value.shape for name, value in built.named_parameters()}) / total

    if scaled(plain, 2.0) == plain:
        raise _cannot(options, total, "it has no hidden layer whose width could be chosen")
    found = _nearest(share, asked)
    if abs(share(found) / asked - 1) > NEAR:
        raise _cannot(options, total, f"the nearest that its widths give is {share(found):.3g}")
    return scaled(plain, found)


def _without_start(options: Any) -> dict[str, Any]:
    """Settings for a generator of which only the size counts."""
    return {name: value for name, value in (("init", "plain"), ("mask_bias", 0.0)) if hasattr(options, name)}


def _nearest(share: Callable[[float], float], asked: float) -> float:
    """The factor whose `share`, which grows with it, is nearest to `asked`."""
    low = high = 1.0
    while share(low) > asked and low > 2**-20:
        low /= 2
    while share(high) < asked and high < 2**20:
        high *= 2
    for _ in range(24):
        middle = sqrt(low * high)
        low, high = (middle, high) if share(middle) < asked else (low, middle)
    return min((low, high), key=lambda factor: abs(share(factor) - asked))


@dataclass(frozen=True)
class _Chunking:
    """Sizes of a chunked generator for `total` numbers, but for the chunk's."""

    options: Any
    total: int

    @property
    def inputs(self) -> int:
        return self.options.chunk_embedding + self.options.embedding

    @property
    def trunk(self) -> int:
        sizes, bias = (self.inputs, *self.options.hidden), self.options.bias
        return sum((before + bias) * after for before, after in zip(sizes[:-1], sizes[1:], strict=True))

    @property
    def per_number(self) -> int:
        """Numbers of the last map for each of a chunk's."""
        return (self.options.hidden or (self.inputs,))[-1] + self.options.bias

    def size(self, chunk: int) -> int:
        """Numbers of the generator, without the tasks' own."""
        table = self.options.chunk_embedding * ceil(self.total / chunk)
        return self.trunk + self.per_number * chunk + table

    def least(self) -> float:
        """The fewest numbers that any chunk gives."""
        return self.trunk + 2 * sqrt(self.per_number * self.options.chunk_embedding * self.total)

    def chunk(self, budget: float) -> int | None:
        """The chunk with which the size is nearest to the budget, the larger of two; None if it cannot be met."""
        left = budget - self.trunk
        square = left**2 - 4 * self.per_number * self.options.chunk_embedding * self.total
        if left <= 0 or square < 0 or (self.options.hidden and self.trunk > MOST_OF_TRUNK * budget):
            return None
        middle = int((left + sqrt(square)) / (2 * self.per_number))
        near = range(max(1, middle - AROUND), min(self.total, middle + AROUND) + 1)
        return min(reversed(near), key=lambda chunk: abs(self.size(chunk) - budget), default=None)


def by_chunk(options: Any, shapes: Mapping[str, torch.Size]) -> Any:
    """The options of a chunked generator with `chunk` so that it has `options.compression` × the numbers in `shapes`.

    The given widths hold where the hidden layers then take at most a quarter of it. Else they become smaller together, and
    the chunk embeddings with them; and larger where one chunk of everything would still be too small.
    """
    total = numbers(shapes)
    budget, plain = options.compression * total, replace(options, compression=None)
    if options.conditional or not options.chunk_embedding:
        raise _cannot(
            options,
            total,
            "it chooses chunks, whose embeddings all tasks share: leave generator.conditional and "
            "generator.chunk_embedding=0 out",
        )
    factor, step = 1.0, 1 / STEP
    if _Chunking(plain, total).size(total) < budget:
        if not plain.hidden:
            raise _cannot(options, total, "it has no hidden layer whose width could be chosen")
        while _Chunking(scaled(plain, factor), total).size(total) < budget:
            factor *= STEP
    while True:
        fewer = max(1, round(plain.chunk_embedding * min(1.0, factor)))
        sizes = _Chunking(replace(scaled(plain, factor), chunk_embedding=fewer), total)
        chunk = sizes.chunk(budget)
        if chunk is not None:
            return replace(sizes.options, chunk=chunk)
        if fewer == 1 and all(width == 1 for width in sizes.options.hidden):
            least = max(sizes.least(), 4 * sizes.trunk if sizes.options.hidden else 0)
            raise _cannot(options, total, f"the smallest that it can have is {least / total:.2g}")
        factor *= step


def _cannot(options: Any, total: int, why: str) -> HypermnesiaError:
    kind = type(options).__name__.removesuffix("Options").lower()
    return HypermnesiaError(
        f"generator.compression={options.compression} for {total:,} numbers written by generator={kind}: {why}. Ask for "
        "another share, take generator=chunked, or set the sizes yourself"
    )
