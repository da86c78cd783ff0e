"""EWC, elastic weight consolidation: Kirkpatrick et al. 2017 (arXiv:1612.00796); online: Schwarz et al. 2018
(arXiv:1805.06370)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from hypermnesia.core import tensors
from hypermnesia.core.declared import Count, Fraction, NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.fitting import likelihood
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.penalties.quadratic import pull, samples_at_once, some_of
from hypermnesia.weights.model import evaluating

Fisher = Literal["empirical", "sampled", "true_class"]


@dataclass(frozen=True)
class EWCState:
    """One quadratic, ½ Σ importance · (θ − anchor)² + floor: what all finished tasks ask for together.

    A sum of quadratics is a quadratic, so the penalties of any number of tasks take no more room than one.
    """

    importance: Tensors
    """Diagonal Fisher by parameter name, summed over tasks; empty before the first task's end."""
    anchor: Tensors
    """Where the quadratic has its minimum; names and shapes of `importance`."""
    floor: Tensor
    """Its least value, ≥ 0: what the tasks' own anchors disagree about."""


@dataclass(frozen=True, kw_only=True)
class EWC(Penalty):
    """strength · ½ Σ_j Σ_i F_ji (θ_i − θ*_ji)², j the finished tasks (Kirkpatrick et al., eq. 3).

    F_j is the diagonal of the Fisher information at θ*_j, the mean over task j's samples of squared
    per-sample gradients, taken in evaluation mode; of numbers those of half the squared error. Parameters that
    appear later, such as a new task's embedding, are free.
    """

    name: ClassVar[str] = "ewc"
    tells_numbers: ClassVar[bool] = True

    strength: NotNegative = 180.0
    """λ ≥ 0, with the paper's factor ½. Code without that factor (Mammoth, Avalanche) means twice as much by the
    same number: the 90 that DER's authors give for Split MNIST is 180 here."""
    mode: Literal["separate", "online"] = "separate"
    """separate: one quadratic per task, each around its own θ*. online: one, around the latest θ*, whose
    Fisher is decay · old + new."""
    decay: Fraction = 1.0
    """γ in 0..1 of `mode=online`."""
    fisher: Fisher = "empirical"
    """Labels of the gradients. empirical: the data's. sampled: one drawn from the network's own prediction
    for each sample (the Fisher proper, in expectation). true_class: the data's, each square weighted by the
    predicted probability of that label (DER's code)."""
    samples: Count | None = None
    """At most so many samples of a task for its Fisher, drawn at random; none = all."""

    def init(self, learner: Learner) -> EWCState:
        if learner.target is not None and self.fisher != "empirical":
            raise HypermnesiaError(
                f"ewc.fisher={self.fisher} is of classes; of numbers there is fisher=empirical"
            )
        return EWCState({}, {}, torch.zeros((), device=learner.device))

    def begin_task(self, state: EWCState, learner: Learner) -> EWCState:
        """New outputs are free: of no importance to the finished tasks."""
        now = learner.model.stored()
        importance, anchor = (tensors.padded(part, now) for part in (state.importance, state.anchor))
        return replace(state, importance=importance, anchor=anchor)

    def value(self, net: Net, state: EWCState, draw: None) -> Tensor | None:
        held = [name for name in state.importance if name in net.params]
        if not held:
            return None
        values = ([of[n] for n in held] for of in (net.params, state.anchor, state.importance))
        return self.strength * (0.5 * pull(*values) + state.floor)

    def end_task(self, state: EWCState, learner: Learner, task: Task, rng: torch.Generator) -> EWCState:
        if self.strength == 0:
            return state
        anchor = tensors.copy(learner.model.trainable())
        fisher = self._fisher(learner, task, anchor, rng)
        if self.mode == "online":
            old = {name: value for name, value in state.importance.items() if name in fisher}
            return EWCState(tensors.add(fisher, tensors.scale(old, self.decay)), anchor, state.floor)
        return merged(state, EWCState(fisher, anchor, torch.zeros_like(state.floor)))

    def _fisher(self, learner: Learner, task: Task, params: Tensors, rng: torch.Generator) -> Tensors:
        """The diagonal Fisher of `task` at `params`, by name."""
        model, part = learner.model, task.train

        def loss(params: Tensors, x: Tensor, target: Tensor) -> Tensor:
            """Of one sample x (…), target (); `vmap` adds the axis of the samples."""
            return likelihood(target)(Net(model, params)(x[None], task.index), target[None])

        per_sample = vmap(grad_and_value(loss), in_dims=(None, 0, 0))
        positions = some_of(len(part), self.samples, rng)
        total = tensors.zeros_like(params)
        with evaluating(model):
            for chosen in positions.split(samples_at_once(params)):
                raw, y = part.batch(chosen)
                x, target = learner.preprocess(raw, None), learner.targets(y, task.index)
                if self.fisher == "sampled":
                    target = _predicted_labels(Net(model, params), x, task.index, rng)
                gradients, losses = per_sample(params, x, target)
                weight = (-losses).exp() if self.fisher == "true_class" else torch.ones_like(losses)
                for name, g in gradients.items():  # (chunk, *shape)
                    total[name] += torch.tensordot(weight / len(positions), g.square(), dims=1)
        return total


def _predicted_labels(net: Net, x: Tensor, task: int, rng: torch.Generator) -> Tensor:
    """(B,) one label for each sample, drawn from the network's prediction."""
    with torch.no_grad():
        probabilities = net(x, task).softmax(1)
    return torch.multinomial(probabilities.cpu(), 1, generator=rng)[:, 0].to(x.device)


def merged(a: EWCState, b: EWCState) -> EWCState:
    """The sum of two quadratics. Exact, parameter by parameter:

    F₁(θ − a₁)² + F₂(θ − a₂)² = (F₁ + F₂)(θ − a)² + F₁F₂/(F₁ + F₂) (a₁ − a₂)²,  a = (F₁a₁ + F₂a₂)/(F₁ + F₂)
    """
    importance, anchor, floor = a.importance | b.importance, a.anchor | b.anchor, a.floor + b.floor
    # In one order: that of a set differs between processes, and so would the sum's rounding.
    for name in [name for name in a.importance if name in b.importance]:
        first, second = a.importance[name], b.importance[name]
        importance[name] = first + second
        share = second / importance[name].clamp_min(torch.finfo(first.dtype).tiny)  # 0 where nothing matters
        apart = b.anchor[name] - a.anchor[name]
        anchor[name] = a.anchor[name] + share * apart
        floor = floor + 0.5 * (first * share * apart.square()).sum()
    return EWCState(importance, anchor, floor)
