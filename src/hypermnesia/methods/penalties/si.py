"""SI, synaptic intelligence: Zenke, Poole & Ganguli 2017 (arXiv:1703.04200)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import NotNegative, Positive
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net, Step
from hypermnesia.methods.penalties.quadratic import pull


@dataclass(frozen=True)
class SIState:
    start: Tensors
    """Every trainable parameter at the current task's start, where the finished tasks left it, by name."""
    path: Tensors
    """ω: how much each parameter has lowered the task's loss so far; names and shapes of `start`."""
    importance: Tensors
    """Ω ≥ 0 of the finished tasks; only parameters that one of them trained."""


@dataclass(frozen=True, kw_only=True)
class SI(Penalty):
    """c · Σ_i Ω_i (θ_i − θ_i at the task's start)² (eq. 4).

    A parameter is important if it lowered the loss a lot while moving little. Along the path of each task
    ω_i = Σ_steps −∂L/∂θ_i · Δθ_i; at its end Ω_i grows by ω_i / ((θ_i at the end − at the start)² + xi) (eq. 5).
    """

    name: ClassVar[str] = "si"
    tells_numbers: ClassVar[bool] = True

    c: NotNegative = 1.0
    """Strength of the penalty, ≥ 0 (no factor ½). DER's authors: 1 for Split MNIST, 0.5 for Split
    CIFAR-10."""
    xi: Positive = 0.9
    """Damping, > 0: keeps Ω finite where a parameter hardly moved. DER's authors: 0.9 for Split MNIST, else 1."""

    def init(self, learner: Learner) -> SIState:
        return SIState({}, {}, {})

    def begin_task(self, state: SIState, learner: Learner) -> SIState:
        """A new path from here. New outputs are free."""
        start = tensors.copy(learner.model.trainable())
        importance = tensors.padded(state.importance, learner.model.stored())
        return SIState(start, tensors.zeros_like(start), importance)

    def value(self, net: Net, state: SIState, draw: None) -> Tensor | None:
        held = [name for name in state.importance if name in net.params]
        if not held:
            return None
        return self.c * pull(*([of[n] for n in held] for of in (net.params, state.start, state.importance)))

    def after_step(self, state: SIState, learner: Learner, step: Step, rng: torch.Generator) -> SIState:
        """Add this step to the path integral, with the gradient of the loss less this method's penalty."""
        path = dict(state.path)
        for name, gradient in step.gradients.items():
            before = step.before[name]
            if name in state.importance:
                gradient = gradient - 2 * self.c * state.importance[name] * (before - state.start[name])
            path[name] = path[name] + gradient * (before - step.after[name])
        return replace(state, path=path)

    def end_task(self, state: SIState, learner: Learner, task: Task, rng: torch.Generator) -> SIState:
        importance = dict(state.importance)
        with torch.no_grad():
            for name, now in learner.model.trainable().items():
                gained = state.path[name] / ((now - state.start[name]).square() + self.xi)
                total = importance[name] + gained if name in importance else gained
                # Below 0 the penalty would reward moving away, without bound.
                importance[name] = total.clamp_min(0)
        return replace(state, importance=importance)
