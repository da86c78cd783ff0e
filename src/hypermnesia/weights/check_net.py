"""Whether a network can be called with other parameters than its own, tried before anything is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.weights.model import logits_of

_SAMPLES = 2
_ONE_PIXEL = "Expected more than 1 spatial element"
"""What torch's instance norm says of them."""


def try_out(net: nn.Module, shape: tuple[int, ...], outputs: int, dtype: torch.dtype = torch.uint8) -> None:
    """Raise `HypermnesiaError`, saying why, unless `net` maps samples of `shape` to logits (B, `outputs`) and uses the
    parameters that `torch.func.functional_call` puts in place of its own.

    `shape` and `dtype` of raw samples: uint8 (C, H, W) for images, which it gets as float32, float32 (F,) for vectors, or
    int64 (L,) for tokens. One forward and backward pass in evaluation mode; the network, its statistics and torch's
    random generators stay as they were.
    """
    name = type(net).__name__
    own = _parameters(net, name)
    stand_ins: Tensors = {key: value.detach().clone().requires_grad_() for key, value in own.items()}
    buffers = {key: value.clone() for key, value in net.named_buffers()}
    x = _samples(shape, dtype, next(iter(own.values())).device)
    with _undisturbed(net, own):
        try:
            output = functional_call(net, stand_ins | buffers, (x,))
        except Exception as error:  # a network's own code may raise anything
            if _ONE_PIXEL in str(error):
                raise HypermnesiaError(
                    f"{name}: an instance norm sees maps of one pixel, which it makes 0. With weights=partial write "
                    "weights.tail_norm=group, or weights.tail_norm=keep for the norm layers that it came with; else take "
                    "larger images or another norm"
                ) from error
            raise HypermnesiaError(
                f"{name} cannot be called on a batch of shape {tuple(x.shape)} ({x.dtype}): "
                f"{type(error).__name__}: {error}"
            ) from error
        logits = _checked(output, name, outputs)
        _check_uses(logits, own, stand_ins, name)


def _parameters(net: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The floating-point parameters, all of which have values that can be exchanged."""
    if isinstance(net, torch.jit.ScriptModule):
        raise HypermnesiaError(
            f"{name} is TorchScript, which has its parameters built in: pass the nn.Module that it was made from"
        )
    if isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise HypermnesiaError(f"{name} spreads a network over devices: pass the one within, net.module")
    own = {key: value for key, value in net.named_parameters() if value.is_floating_point()}
    for key, value in own.items():
        if nn.parameter.is_lazy(value):
            raise HypermnesiaError(
                f"{name}: {key} has no shape yet (a lazy layer): call the network once on a batch, then pass it"
            )
        if value.is_meta:
            raise HypermnesiaError(
                f"{name}: {key} has no values (it lies on the meta device): load them first. A network whose weights "
                "a generator writes gives them up to its model: for another model pass a fresh one"
            )
    if not own:
        raise HypermnesiaError(f"{name} has no floating-point parameters: there is nothing to learn in it")
    return own


def _samples(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if dtype == torch.int64:
        return torch.ones(_SAMPLES, *shape, dtype=torch.int64, device=device)
    return torch.rand(_SAMPLES, *shape, generator=generator(0, "trial")).to(device)


@contextmanager
def _undisturbed(net: nn.Module, own: dict[str, nn.Parameter]) -> Iterator[None]:
    """Within the block the network is in evaluation mode and all its parameters ask for gradients."""
    modes = {module: module.training for module in net.modules()}
    asked = {key: value.requires_grad for key, value in own.items()}
    net.eval()
    for value in own.values():
        value.requires_grad_()
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for key, value in own.items():
            value.requires_grad_(asked[key])


def _checked(output: Any, name: str, outputs: int) -> Tensor:
    """The logits, if that is what they are."""
    try:
        logits = logits_of(output)
    except TypeError as error:
        raise HypermnesiaError(
            f"{name} returned {error}; wrap it in a module whose forward returns them"
        ) from error
    if tuple(logits.shape) != (_SAMPLES, outputs):
        raise HypermnesiaError(
            f"{name} returned shape {tuple(logits.shape)} for a batch of {_SAMPLES}, expected logits of shape "
            f"({_SAMPLES}, {outputs}): build it with {outputs} outputs"
        )
    return logits


def _check_uses(logits: Tensor, own: dict[str, nn.Parameter], stand_ins: Tensors, name: str) -> None:
    """Raise unless the logits depend on the stand-ins, and on the network's own parameters not at all."""
    if not logits.requires_grad:
        raise HypermnesiaError(
            f"{name}: no gradient reaches its parameters; is its forward under torch.no_grad, or detached?"
        )
    wanted: list[Tensor] = [*own.values(), *stand_ins.values()]
    found = torch.autograd.grad(logits.float().sum(), wanted, allow_unused=True)
    kept = [key for key, gradient in zip(own, found[: len(own)], strict=True) if gradient is not None]
    if kept:
        raise HypermnesiaError(
            f"{name} goes on using its own {', '.join(kept[:5])} when it is called with other values: some module "
            "keeps a reference to them. Read parameters from their modules (self.layer.weight) at each call"
        )
    if all(gradient is None for gradient in found):
        raise HypermnesiaError(f"{name}: its logits depend on none of its parameters")
