"""A user's own network by name: `python:package.module:factory`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.registry import PART, imported, told
from hypermnesia.nets.options import Shape, check_shape, check_text_shape


@dataclass(frozen=True)
class Factory:
    """A user's own network; it has no options."""

    reference: str = field(metadata=PART)
    """`python:package.module:factory`."""

    def build(self, shape: Shape, outputs: int) -> nn.Module:
        """The network for samples of this shape."""
        return from_factory(self.reference, shape, outputs)


def from_factory(reference: str, shape: Shape, outputs: int) -> nn.Module:
    """The module that `factory(shape, outputs)` of `python:package.module:factory` returns.

    The factory is anything callable, a class included; `shape` is the (C, H, W) of the images, (L,) for texts of L
    tokens, or (F,) for vectors of F numbers. Only its module is imported. Any `nn.Module` will do: no base class and no
    declaration is asked for.
    """
    (check_text_shape if len(shape) == 1 else check_shape)(reference, shape, outputs)
    factory = _find(reference)
    try:
        net = factory(shape, outputs)
    except Exception as error:
        raise HypermnesiaError(
            f"net={reference}: factory({shape}, {outputs}) raised {told(error)}. It is called with the "
            "samples' shape, (channels, height, width) or (tokens,), and the number of outputs, in this order"
        ) from error
    if not isinstance(net, nn.Module):
        raise HypermnesiaError(
            f"net={reference}: the factory returned {type(net).__name__}, expected a torch.nn.Module"
        )
    return net


def _find(reference: str) -> Callable[..., Any]:
    """The callable that `reference` names."""
    factory = imported(f"net={reference}", reference)
    if not callable(factory):
        name = reference.rpartition(":")[2]
        raise HypermnesiaError(
            f"net={reference}: {name!r} is of type {type(factory).__name__}, expected a function or a class "
            "that takes (shape, outputs) and gives a torch.nn.Module"
        )
    return factory
