"""What the options of every network share: what they build, and the checks of their ranges."""

from typing import Protocol

from torch import nn

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError

Shape = tuple[int, ...]
"""Channels, height and width of one image, the number of tokens of one text, or that of a vector's features."""


class NetOptions(Protocol):
    """A frozen dataclass of settings, which builds networks for any shape of samples and any number of outputs.

    A class attribute `takes` names the kinds of samples that the network is for, where these are not images alone.
    """

    def build(self, shape: Shape, outputs: int) -> nn.Module:
        """A network from samples (B, *shape) to logits (B, outputs), with weights from torch's global RNG."""
        ...


def check_counts(key: str, values: tuple[int, ...], length: int | None = None) -> None:
    """Raise unless `values` is a tuple of whole numbers of at least 1, `length` of them where given."""
    whole = isinstance(values, tuple) and all(
        isinstance(value, int) and not isinstance(value, bool) and value >= 1 for value in values
    )
    if not whole or (length is not None and len(values) != length):
        number = "" if length is None else f"{length} "
        raise HypermnesiaError(
            f"{key}={values!r}: expected a tuple of {number}whole numbers, at least 1 each"
        )


def check_depth(net: str, depth: int, per_block: int, extra: int) -> int:
    """The n of a network of `per_block` · n + `extra` layers; raise if `depth` is none of those."""
    blocks, rest = divmod(depth - extra, per_block)
    if blocks >= 1 and rest == 0:
        return blocks
    below = max(blocks, 1) * per_block + extra
    raise HypermnesiaError(
        f"net.depth={depth}: {net} has {per_block}n + {extra} layers, such as {below} or {below + per_block}"
    )


def check_kind(net: str, options: NetOptions, kind: str, shape: Shape) -> None:
    """Raise unless the network is for samples of this kind: `"images"`, `"texts"` or `"vectors"`."""
    takes = getattr(options, "takes", ("images",))
    if kind in takes:
        return
    size = {"texts": f" of {shape[0]} tokens", "vectors": f" of {shape[0]} numbers"}.get(
        kind, f" of shape {tuple(shape)}"
    )
    other = {"texts": "text-transformer", "vectors": "mlp"}.get(
        kind, "vit, mlp or another network for images"
    )
    raise HypermnesiaError(
        f"{net} takes {' and '.join(takes)}, and these samples are {kind}{size}: take net={other}"
    )


def check_flat_shape(net: str, shape: Shape, outputs: int) -> None:
    """Raise unless `shape` is (C, H, W) or (F,), and `outputs` at least 1."""
    check_counts(f"shape of the samples for {net}", shape, length=None if len(shape) == 1 else 3)
    check_count(f"outputs of {net}", outputs)


def check_text_shape(net: str, shape: Shape, outputs: int) -> None:
    """Raise unless `shape` is (L,), a number of tokens, and `outputs` at least 1."""
    if len(shape) != 1:
        raise HypermnesiaError(
            f"{net} takes texts, and these samples are images of shape {tuple(shape)}: take net=vit, mlp or another "
            "network for images"
        )
    check_counts(f"shape of the texts for {net}", shape)
    check_count(f"outputs of {net}", outputs)


def check_shape(net: str, shape: Shape, outputs: int, smallest: int = 1) -> None:
    """Raise unless `shape` is (C, H, W) with H, W of at least `smallest` pixels, and `outputs` at least 1."""
    if len(shape) == 1:
        raise HypermnesiaError(
            f"{net} takes images, and these samples have the shape ({shape[0]},): take net=text-transformer for texts, "
            "mlp for vectors"
        )
    check_counts(f"shape of the images for {net}", shape, length=3)
    check_count(f"outputs of {net}", outputs)
    _, height, width = shape
    if min(height, width) < smallest:
        raise HypermnesiaError(
            f"{net} takes no images of {height} x {width} pixels: the smallest are {smallest} x {smallest}. "
            "Enlarge the images, or choose another network: mlp takes every size"
        )
