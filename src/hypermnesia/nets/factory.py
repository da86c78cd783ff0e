"""A user's own network by name: `python:package.module:factory`."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.options import Shape, check_shape, check_text_shape

PREFIX = "python:"
_FORM = "python:package.module:factory"


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
            f"net={reference}: factory({shape}, {outputs}) raised {_told(error)}. It is called with the "
            "samples' shape, (channels, height, width) or (tokens,), and the number of outputs, in this order"
        ) from error
    if not isinstance(net, nn.Module):
        raise HypermnesiaError(
            f"net={reference}: the factory returned {type(net).__name__}, expected a torch.nn.Module"
        )
    return net


def _find(reference: str) -> Callable[..., Any]:
    """The callable that `reference` names."""
    path, colon, name = reference.removeprefix(PREFIX).partition(":")
    if not (reference.startswith(PREFIX) and colon and path and name):
        raise HypermnesiaError(f"net={reference}: expected {_FORM}, such as python:my_nets.cnn:build")
    if (
        os.getcwd() not in sys.path
    ):  # last, so that it hides nothing: the user's own file lies where the command is given
        sys.path.append(os.getcwd())
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise HypermnesiaError(
                f"net={reference}: there is no module {error.name!r}. "
                "Install its package, or put its folder on PYTHONPATH"
            ) from error
        raise HypermnesiaError(f"net={reference}: importing {path!r} raised {_told(error)}") from error
    except Exception as error:
        raise HypermnesiaError(f"net={reference}: importing {path!r} raised {_told(error)}") from error
    factory = getattr(module, name, None)
    if factory is None:
        public = ", ".join(sorted(n for n, value in vars(module).items() if callable(value) and n[0] != "_"))
        raise HypermnesiaError(
            f"net={reference}: {path!r} has no {name!r}; it has: {public or 'nothing callable'}"
        )
    if not callable(factory):
        raise HypermnesiaError(
            f"net={reference}: {name!r} is of type {type(factory).__name__}, expected a function or a class "
            "that takes (shape, outputs) and gives a torch.nn.Module"
        )
    return factory


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
