"""How one optimizer step is taken: the gradient of a method, and the move along it."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypermnesia.core import lookahead, optim, tensors
from hypermnesia.core.tensors import Tensors
from hypermnesia.core.trees import Flat, flat, rebuilt
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.stages import Gradients
from hypermnesia.training import determinism, threads
from hypermnesia.training.graphs import Graphs
from hypermnesia.training.guards import check_tensors
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.model import Model

UNDRAWN = object()
"""The draw of a step that is not made yet: runs that take their steps together draw together."""


@dataclass(frozen=True)
class StepResult:
    """A step that was taken."""

    loss: Tensor
    step: Step
    seconds: float
    """What it took, or a run's share of that."""


@dataclass
class StepRequest:
    """A step that a run is ready for; whoever drives the run takes it before the run goes on."""

    net: Net
    learner: Learner
    batch: Batch
    rng: torch.Generator
    """Of the method's draws."""
    optimizer: torch.optim.Optimizer
    step: int
    """Steps of the phase that are done."""
    when: Callable[[], str]
    """Says which step it is, for errors."""
    draw: Any = UNDRAWN
    result: StepResult | None = None

    @property
    def state(self) -> Any:
        """The method's."""
        return self.learner.state

    def make_draw(self, method: Method) -> None:
        """Make the step's random choices, unless they are made."""
        if self.draw is UNDRAWN:
            self.draw = method.draw(self.state, self.learner, self.batch, self.rng)


Held = tuple[tuple[Tensors, Tensors], Flat]
"""A net's trained parameters and its `others`, as they are and taken apart: the same tensors in all steps of a phase."""
EARLY = 10
"""Steps of a phase that are not compiled: a memory that fills changes its form with each."""


class Stepper:
    """Takes the steps of one run, each by itself."""

    def __init__(self, method: Method, train: TrainOptions, device: torch.device) -> None:
        self.method, self.train, self.device = method, train, device
        self._graphs = Graphs("train.compile=true", compile=True) if train.compile else None
        self._net: Net | None = None
        self._held: Held = ({}, {}), Flat([], [])

    def choose_threads(self, request: StepRequest) -> int:
        """Set the number of CPU threads with which this step is faster, and return it. The step is not taken: what it
        would leave in the model's buffers and torch's generators is put back."""
        request.make_draw(self.method)
        net, before = request.net, tensors.copy(request.net.model.stored())
        noise = determinism.noise(self.device)

        optimizer = request.optimizer

        def candidate(gradients: Mapping[str, Tensor], plain: bool = False) -> Tensors:
            return lookahead.candidate(optimizer, gradients, plain=plain)

        def step() -> None:
            with precision(self.train, self.device):
                self.method.gradients(net, request.state, request.batch, request.draw, candidate)

        chosen = threads.faster(step, torch.set_num_threads, torch.get_num_threads())
        determinism.set_noise(noise, self.device)
        with torch.no_grad():
            for name, value in net.model.stored().items():
                value.copy_(before[name])
        return chosen

    def take(self, request: StepRequest) -> None:
        """Compute the step and move the parameters; `request.result` tells what was done."""
        started = time.perf_counter()
        request.make_draw(self.method)
        net, optimizer = request.net, request.optimizer
        before = tensors.copy(net.params) if self.method.watches_parameters else {}

        def candidate(gradients: Mapping[str, Tensor], plain: bool = False) -> Tensors:
            return lookahead.candidate(optimizer, gradients, plain=plain)

        with precision(self.train, self.device):
            if self._graphs is None or early(request):
                found = self.method.gradients(net, request.state, request.batch, request.draw, candidate)
            else:
                if net is not self._net:
                    self._graphs.renew()
                    self._net = net
                    own = net.params, others(net.model, net.params)
                    self._held = own, flat(*own)
                found = by_graph(self._graphs, self.method, request, self._held)
        gradients, loss, aux = found
        gradients = move(optimizer, net.params, gradients, self.train, request.when)
        step = Step(request.batch, request.draw, aux, before, net.params, gradients)
        request.result = StepResult(loss, step, time.perf_counter() - started)


def by_graph(graphs: Graphs, method: Method, request: StepRequest, held: Held) -> Gradients:
    """`method.gradients` for a request step, as one of the graphs; `held`: the net's parameters and `others`."""
    net, optimizer = request.net, request.optimizer
    ahead = lookahead.view(optimizer) if method.custom_gradients else None
    own, (tensors_of_net, form_of_net) = held
    nested = (request.state, request.batch, request.draw, ahead)

    def compute(given: list[Tensor]) -> tuple[list[Tensor], Layout]:
        (params, rest), (state, batch, draw, view) = rebuilt((own, nested), iter(given))

        def candidate(gradients: Mapping[str, Tensor], plain: bool = False) -> Tensors:
            return lookahead.candidate(optimizer, gradients, plain, view)

        return packed(method.gradients(Net(net.model, params, rest, net.part), state, batch, draw, candidate))

    leaves, form = flat(*nested)
    whole = [*form_of_net, *form, *numbers_of(net.model)]
    return unpacked(*graphs(whole, compute, [*tensors_of_net, *leaves]))


def numbers_of(model: Model) -> tuple[bool, float]:
    """What a forward pass reads of a model that is no tensor, and changes within a task."""
    return model.training, model.ramp


def early(request: StepRequest) -> bool:
    """Whether a step is not to be compiled, since the next one differs in form: told by where the run is, so that it is
    the same after a resume."""
    return request.step < EARLY or request.net.model.ramp < 1


class Layout(NamedTuple):
    """Which of a list of tensors is what."""

    gradients: list[str]
    terms: list[str]
    logits: bool


def packed(found: Gradients) -> tuple[list[Tensor], Layout]:
    """Gradients, loss and auxiliary outputs as one list of tensors."""
    gradients, loss, aux = found
    logits = [] if aux.logits is None else [aux.logits]
    layout = Layout(list(gradients), list(aux.terms), bool(logits))
    return [*gradients.values(), loss, *aux.terms.values(), *logits], layout


def unpacked(found: list[Tensor], layout: Layout) -> Gradients:
    """What was `packed`."""
    count = len(layout.gradients)
    terms = found[count + 1 : count + 1 + len(layout.terms)]
    aux = Aux(dict(zip(layout.terms, terms, strict=True)), found[-1] if layout.logits else None)
    return dict(zip(layout.gradients, found, strict=False)), found[count], aux


def others(model: Model, params: Mapping[str, Tensor]) -> Tensors:
    """What a loss reads beside the trained parameters: frozen ones, earlier tasks' rows, buffers."""
    every = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in every.items() if name not in params and not value.is_meta}


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
    optim.advance(optimizer, optim.clipped(gradients, train.clip))
    return gradients


def precision(train: TrainOptions, device: torch.device) -> contextlib.AbstractContextManager:
    """The context in which losses and evaluations are computed."""
    if train.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
