"""Anchor: the target's own weights stay near their values at the task's start (HyperMask, arXiv:2310.00113)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.nets.norms import norm_parameters
from hypermnesia.weights.compose import SemiBinaryMask
from hypermnesia.weights.model import Model

Weighting = Literal["plain", "current", "current_detached", "earlier"]


@dataclass(frozen=True)
class AnchorState:
    start: Tensors | None
    """Target parameters (under their names in the target) when the task began; None in the first task."""
    masks: Tensors
    """Elementwise maximum of the earlier tasks' masks at that time; empty unless they weigh the distance."""


@dataclass(frozen=True, kw_only=True)
class Anchor(Penalty):
    """strength · Σ_i |(θ_i − θ_i at the task's start) · weight_i|, θ the shared and masked target parameters.

    The weight of a masked parameter is 1 (`plain`), the current task's mask (`current`; the generator gets a
    gradient too, as in the reference, which rewards shrinking the mask; `current_detached` gives it none), or
    the largest mask that an earlier task has there (`earlier`: what the old tasks really use). Parameters
    without a mask weigh 1. Nothing is divided by the number of parameters or tasks. At the start of a task
    the penalty and its (sub)gradient are 0.
    """

    name: ClassVar[str] = "anchor"
    tells_numbers: ClassVar[bool] = True

    strength: NotNegative = 1e-3
    """λ ≥ 0. Published: 1e-3 for MNIST, 0.01 to 1 for CIFAR-100 and Tiny ImageNet."""
    order: Literal[1, 2] = 1
    """1: sum of distances (published). 2: sum of their squares, which prefers many small moves to few."""
    weighting: Weighting = "plain"
    """plain (published for CIFAR-100, Tiny ImageNet), current (published for MNIST), current_detached, earlier."""
    reference_norms: bool = False
    """Leave shared scales and offsets of norm layers out, as the reference does: they drift unprotected."""

    def init(self, learner: Learner) -> AnchorState:
        model = learner.model
        if not self._held(model):
            raise HypermnesiaError(
                "anchor: the target has no shared or masked parameters to hold; "
                "leave the penalty out with anchor=none"
            )
        has_masks = isinstance(model.compose, SemiBinaryMask) and _masked(model)
        if self.weighting != "plain" and not has_masks:
            raise HypermnesiaError(
                f"anchor.weighting={self.weighting} needs masked weights (weights=mask); this model has "
                "none: choose anchor.weighting=plain"
            )
        return AnchorState(None, {})

    def begin_task(self, state: AnchorState, learner: Learner) -> AnchorState:
        """Remember where the target is, and what the earlier tasks use of it."""
        model, earlier = learner.model, range(learner.task)
        if not earlier:
            return AnchorState(None, {})
        values = dict(model.target.named_parameters())
        start = tensors.copy({name: values[name] for name in self._held(model)})
        if self.weighting != "earlier":
            return AnchorState(start, {})
        with torch.no_grad():
            masks = Net(model).masks(list(earlier))
        return AnchorState(start, {name: mask.amax(0) for name, mask in masks.items()})

    def value(self, net: Net, state: AnchorState, draw: None) -> Tensor | None:
        """The weighted distance, a scalar; None in the first task and when none of the parameters trains."""
        if state.start is None:
            return None
        moved = {
            name: net.params["target." + name] - start
            for name, start in state.start.items()
            if "target." + name in net.params
        }
        if not moved:
            return None
        weights = self._weights(net, state)
        distances = [delta * weights[name] if name in weights else delta for name, delta in moved.items()]
        return self.strength * _sum([d.abs() if self.order == 1 else d.square() for d in distances])

    def _weights(self, net: Net, state: AnchorState) -> Tensors:
        """The weight of each masked parameter, *shape by name."""
        if self.weighting in ("plain", "earlier"):
            return state.masks
        current = {name: mask[0] for name, mask in net.masks([net.model.num_tasks - 1]).items()}
        return current if self.weighting == "current" else {name: m.detach() for name, m in current.items()}

    def _held(self, model: Model) -> list[str]:
        spared = norm_parameters(model.target) if self.reference_norms else []
        return [n for n, role in model.roles.items() if role in ("shared", "masked") and n not in spared]


def _sum(values: list[Tensor]) -> Tensor:
    """The sum of all entries of all tensors, a scalar."""
    return torch.stack([value.sum() for value in values]).sum()


def _masked(model: Model) -> list[str]:
    return [name for name, role in model.roles.items() if role == "masked"]
