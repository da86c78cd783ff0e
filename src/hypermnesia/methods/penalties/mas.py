"""MAS, memory aware synapses: Aljundi, Babiloni, Elhoseiny, Rohrbach & Tuytelaars 2018 (arXiv:1711.09601)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import grad, vmap

from hypermnesia.core import tensors
from hypermnesia.core.declared import Count, NotNegative
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.penalties.quadratic import pull, samples_at_once, some_of
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class MASState:
    importance: Tensors
    """Ω ≥ 0 by parameter name, summed over the finished tasks; empty before the first one's end."""
    anchor: Tensors
    """θ*, where the latest finished task left the parameters; names and shapes of `importance`."""


@dataclass(frozen=True, kw_only=True)
class MAS(Penalty):
    """strength · Σ_i Ω_i (θ_i − θ*_i)², Ω_i = Σ_j mean over task j's samples of |∂‖f(x)‖² / ∂θ_i|.

    A parameter is important if the squared length of the logits reacts to it; no label takes part. Each task's gradients
    are taken at its end, sample by sample, in evaluation mode. Parameters that appear later, such as a new task's
    embedding, are free.
    """

    name: ClassVar[str] = "mas"

    strength: NotNegative = 1.0
    """λ ≥ 0; no factor ½."""
    samples: Count | None = None
    """At most so many samples of a task for its Ω, drawn at random; none = all."""

    def init(self, learner: Learner) -> MASState:
        return MASState({}, {})

    def begin_task(self, state: MASState, learner: Learner) -> MASState:
        """New outputs are free: of no importance to the finished tasks."""
        now = learner.model.stored()
        return MASState(*(tensors.padded(part, now) for part in (state.importance, state.anchor)))

    def value(self, net: Net, state: MASState, draw: None) -> Tensor | None:
        held = [name for name in state.importance if name in net.params]
        if not held:
            return None
        values = ([of[n] for n in held] for of in (net.params, state.anchor, state.importance))
        return self.strength * pull(*values)

    def end_task(self, state: MASState, learner: Learner, task: Task, rng: torch.Generator) -> MASState:
        if self.strength == 0:
            return state
        now = tensors.copy(learner.model.trainable())
        importance = tensors.add(state.importance, self._importance(learner, task, now, rng))
        return MASState(importance, state.anchor | now)

    def _importance(self, learner: Learner, task: Task, params: Tensors, rng: torch.Generator) -> Tensors:
        """Ω of one task at `params`, by name."""
        model, part = learner.model, task.train

        def length(params: Tensors, x: Tensor) -> Tensor:
            """Of one sample x (…); `vmap` adds the axis of the samples."""
            return Net(model, params)(x[None], task.index).square().sum()

        per_sample = vmap(grad(length), in_dims=(None, 0))
        positions = some_of(len(part), self.samples, rng)
        total = tensors.zeros_like(params)
        with evaluating(model):
            for chosen in positions.split(samples_at_once(params)):
                x = learner.preprocess(part.batch(chosen)[0], None)
                for name, g in per_sample(params, x).items():  # (chunk, *shape)
                    total[name] += g.abs().sum(0) / len(positions)
        return total
