"""How one optimizer step is taken: the gradient of a method, and the move along it."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypermnesia import optim, tensors
from hypermnesia.errors import HypermnesiaError
from hypermnesia.finite import check_tensors
from hypermnesia.method import Aux, Batch, Method, Net, Step
from hypermnesia.tensors import Tensors
from hypermnesia.training import TrainOptions


@dataclass(frozen=True)
class Taken:
    """A step that was taken."""

    loss: Tensor
    aux: Aux
    step: Step
    seconds: float
    """What it took, or a run's share of that."""


@dataclass
class Wanted:
    """A step that a run is ready for; whoever drives the run takes it before the run goes on."""

    net: Net
    state: Any
    batch: Batch
    draw: Any
    optimizer: torch.optim.Optimizer
    when: Callable[[], str]
    """Says which step it is, for errors."""
    taken: Taken | None = None


Gradients = tuple[Tensors, Tensor, Aux]
"""Gradients by name, the loss, its auxiliary outputs."""


class Stepper:
    """Takes the steps of one run, each by itself."""

    def __init__(self, method: Method, train: TrainOptions, device: torch.device) -> None:
        self.method, self.train, self.device = method, train, device
        self._compute = compiled(method.gradients, method) if train.compile else method.gradients

    def take(self, wanted: Wanted) -> None:
        """Compute the step and move the parameters; `wanted.taken` tells what was done."""
        started = time.perf_counter()
        net, optimizer = wanted.net, wanted.optimizer
        before = tensors.copy(net.params) if self.method.watches_parameters else {}

        def candidate(gradients: Mapping[str, Tensor]) -> Tensors:
            return optim.candidate(optimizer, gradients)

        with precision(self.train, self.device):
            gradients, loss, aux = self._compute(net, wanted.state, wanted.batch, wanted.draw, candidate)
        gradients = move(optimizer, net.params, gradients, self.train, wanted.when)
        step = Step(before, net.params, gradients)
        wanted.taken = Taken(loss, aux, step, time.perf_counter() - started)


def move(
    optimizer: torch.optim.Optimizer,
    params: Tensors,
    gradients: Mapping[str, Tensor],
    train: TrainOptions,
    when: Callable[[], str],
) -> Tensors:
    """One optimizer step along the gradients; returns them as they are before clipping."""
    if train.check == "all":
        check_tensors("gradient", gradients, when())
    # Fused optimizers read a gradient as if it lay in memory like its parameter: a transposed one as garbage.
    gradients = {name: optim.laid_out_as(params[name], g) for name, g in gradients.items()}
    clipped = optim.clipped(gradients, train.clip)
    for name, parameter in params.items():
        parameter.grad = clipped.get(name)
    optimizer.step()
    for (
        parameter
    ) in params.values():  # so that the next step's gradients find this memory free, and still cached
        parameter.grad = None
    return gradients


def precision(train: TrainOptions, device: torch.device) -> contextlib.AbstractContextManager:
    """The context in which losses and evaluations are computed."""
    if train.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compiled(compute: Callable[..., Any], method: Method) -> Callable[..., Any]:
    """`compute`, which differentiates a loss, as one graph of forward and backward pass (`train.compile`).

    Raises `HypermnesiaError`, at once or at the first call, where that cannot be done.
    """
    options = torch._dynamo.config
    if not hasattr(options, "trace_autograd_ops"):
        raise HypermnesiaError(
            f"train.compile=true needs a newer torch, which differentiates inside a graph; this is {torch.__version__}"
        )
    from torch._dynamo.exc import TorchDynamoException  # the compiler is imported by those who compile
    from torch._inductor.exc import InductorError

    graph = torch.compile(compute, fullgraph=True, dynamic=False)

    def run(*arguments: Any) -> Any:
        try:
            with options.patch(trace_autograd_ops=True):
                return graph(*arguments)
        except (TorchDynamoException, InductorError) as error:
            name = type(getattr(method, "method", method)).__name__.lower()
            reason = str(error).strip().partition("\n")[0]
            raise HypermnesiaError(
                f"train.compile=true: {name} cannot be compiled here ({reason})"
            ) from error

    return run
