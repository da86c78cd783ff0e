"""A step's gradient in stages: losses, and how their gradients join what the stages before have made.

One description for a run by itself (`gradients`) and for several runs as one program (`training/stacked.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from torch import Tensor

from hypermnesia.core.tensors import Tensors, add
from hypermnesia.methods.learner import Aux, Batch, Net

Ahead = Literal["optimizer", "sgd"]
EITHER: frozenset[Ahead] = frozenset({"optimizer", "sgd"})
Gradients = tuple[Tensors, Tensor, Aux]
"""Gradients by name, the loss, its auxiliary outputs."""


class Lookahead(Protocol):
    """Gradients by name → the change of the parameters that the optimizer would make with them."""

    def __call__(self, gradients: Mapping[str, Tensor], plain: bool = False) -> Tensors:
        """`plain`: the change that SGD at the optimizer's learning rates would make, whatever the optimizer is."""
        ...


Losses = Callable[[Net, Any, Batch, Any, Tensors, Lookahead], tuple[Sequence[Tensor], Aux]]
"""(net, state, batch, draw, gradient so far, candidate) → scalars, and what they hand out. `candidate` is asked for the
gradient so far alone."""


def summed(gradient: Tensors, found: Sequence[Tensors]) -> Tensors:
    """The gradient so far and those of a stage's losses, added."""
    for one in found:
        gradient = add(gradient, one)
    return gradient


@dataclass(frozen=True)
class Stage:
    """One of the stages of a step's gradient."""

    losses: Losses
    join: Callable[[Tensors, Sequence[Tensors]], Tensors] = summed
    """(gradient so far, each loss's gradient) → the gradient."""
    counts: bool = True
    """Whether the losses are part of the one that is told."""
    looks: frozenset[Ahead] = frozenset()
    """The candidate steps that it asks for: the optimizer's, plain SGD's."""
    twice: bool = False
    """Whether a later stage differentiates its gradients, through a candidate step."""


def gradients(
    stages: Sequence[Stage],
    net: Net,
    state: Any,
    batch: Batch,
    draw: Any,
    candidate: Lookahead,
    begun: Gradients | None = None,
) -> Gradients:
    """The gradient of a step, stage by stage; `begun`: what was made before them."""
    gradient, total, aux = begun or ({}, None, Aux())
    for stage in stages:
        losses, told = stage.losses(net, state, batch, draw, gradient, candidate)
        gradient = stage.join(gradient, [net.gradients(one, create_graph=stage.twice) for one in losses])
        total, aux = told_so_far(stage, total, losses), joined(aux, told)
    assert total is not None  # the first stage counts
    return {name: g.detach() for name, g in gradient.items()}, total, aux


def told_so_far(stage: Stage, total: Tensor | None, losses: Sequence[Tensor]) -> Tensor | None:
    """The loss that is told, with what a stage adds to it."""
    for one in losses if stage.counts else ():
        total = one.detach() if total is None else total + one.detach()
    return total


def joined(aux: Aux, more: Aux) -> Aux:
    """What two stages hand out: all terms, the logits of the first that has any."""
    logits = more.logits if aux.logits is None else aux.logits
    return replace(more, terms={**aux.terms, **more.terms}, logits=logits)
