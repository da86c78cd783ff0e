"""HAL, hindsight anchor learning: replay, and answers on a few learned points that a step may not move (Chaudhry, Gordo,
Dokania, Torr & Lopez-Paz 2021, arXiv:2002.08165).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Count, NotNegative, Positive, Probability
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.methods.stages import Lookahead, Stage
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class HALState:
    memory: Memory
    centre: Tensor
    """φ, (d,): the running mean of the current task's features; without entries before its first step."""
    anchors: Tensors = field(default_factory=dict)
    """Task, as text → (classes of the task, …) network input."""


@dataclass(frozen=True, kw_only=True)
class HAL(ReplayMethod):
    """L = CE over batch and draw + strength · mean over anchors e and outputs of (f_θ(e) − f_θ̃(e))², θ̃ the parameters after
    an SGD step on the first term alone (Chaudhry et al. 2021, arXiv:2002.08165, eq. 5 and 6).

    At a task's end each of its classes y gets an anchor: a random input that climbs for `anchor_steps` steps of SGD along
    ∇_e [CE(f_M(e), y) − CE(f(e), y) − gamma · ‖φ(e) − φ‖²], f_M the network after an SGD step on a draw from memory, which
    shows what is forgotten first; φ is the running mean of the task's features.

    Differences: (1) formulas and the one step of f_M are those of DER's authors, whose figures the recipes hold; the paper
    fine-tunes f_M for a pass over the memory. (2) Anchors and running means are computed in evaluation mode. (3) On weights
    that depend on the task, each remembered sample and each anchor passes its own task's network.
    """

    strength: NotNegative = 0.1
    """λ, weight of the anchors, ≥ 0. Published: 0.1 or 0.2."""
    beta: Probability = 0.5
    """What the running mean keeps of itself in a step, at least 0 and below 1. Published: 0.2 to 0.7."""
    gamma: NotNegative = 0.1
    """Pull of an anchor towards the mean feature, ≥ 0. Published: 0.1, 0.5 on S-MNIST."""
    anchor_steps: Count = 100
    """Steps of an anchor, ≥ 1. Published: 100."""
    anchor_lr: Positive = 0.1
    """Learning rate of anchors and of f_M, > 0. Published: that of the training."""
    memory: MemoryOptions = MemoryOptions(policy="ring")
    """The replay memory; published: ring."""

    def init(self, learner: Learner) -> HALState:
        return HALState(rehearsal.empty_memory(learner, self.memory), torch.zeros(0, device=learner.device))

    def begin_task(self, state: HALState, learner: Learner) -> HALState:
        return replace(state, centre=torch.zeros(0, device=learner.device))

    def stages(self) -> Sequence[Stage]:
        """Experience replay's, and the anchors, which only bend its gradient."""
        return (*super().stages(), Stage(self._held, looks=frozenset({"sgd"})))

    def _held(
        self,
        net: Net,
        state: HALState,
        batch: Batch,
        draw: Replay | None,
        gradient: Tensors,
        candidate: Lookahead,
    ) -> tuple[Sequence[Tensor], Aux]:
        if not state.anchors:
            return [], Aux()
        change = candidate(gradient, plain=True)
        ahead = net.at({name: net.params[name] + moved.detach() for name, moved in change.items()})
        with torch.no_grad():
            there = _answers(ahead, state.anchors)
        squares = [
            (now - then).square() for now, then in zip(_answers(net, state.anchors), there, strict=True)
        ]
        held = self.strength * torch.cat([square.flatten() for square in squares]).mean()
        return [held], Aux({"anchors": held.detach()})

    def after_step(self, state: HALState, learner: Learner, step: Step, rng: torch.Generator) -> HALState:
        with evaluating(learner.model):
            mean = Net(learner.model).features(step.batch.x, step.batch.task)[0].float().mean(0)
        centre = self.beta * state.centre if len(state.centre) else torch.zeros_like(mean)
        state = replace(state, centre=centre + (1 - self.beta) * mean)
        return super().after_step(state, learner, step, rng)

    def end_task(self, state: HALState, learner: Learner, task: Task, rng: torch.Generator) -> HALState:
        if self.strength == 0 or not len(state.centre):
            return state
        draw = rehearsal.rehearse(state.memory, learner, self.memory, rng)
        assert draw is not None
        with evaluating(learner.model), torch.enable_grad():
            net = Net(learner.model)
            slopes = net.gradients(F.cross_entropy(rehearsal.logits(net, draw), draw.target))
            moved = {n: (net.params[n] - self.anchor_lr * g).detach() for n, g in slopes.items()}
            anchors = self._anchors(net, net.at(moved), state.centre, learner, task, rng)
        return replace(state, anchors={**state.anchors, str(task.index): anchors})

    def _anchors(
        self, net: Net, forgetful: Net, centre: Tensor, learner: Learner, task: Task, rng: torch.Generator
    ) -> Tensor:
        """(classes of the task, …) network input; every class for itself, and all at once."""
        classes = torch.tensor(task.classes, device=learner.device)
        target = learner.targets(classes, task.index)
        shape = learner.preprocess(torch.zeros(1, *learner.shape, dtype=learner.dtype), None).shape[1:]
        e = torch.rand(len(classes), *shape, generator=rng).to(learner.device)
        for _ in range(self.anchor_steps):
            e.requires_grad_()
            features, logits = net.features(e, task.index)
            gain = F.cross_entropy(forgetful(e, task.index), target, reduction="sum")
            gain = gain - F.cross_entropy(logits, target, reduction="sum")
            gain = gain - self.gamma * (features - centre).square().sum()
            (slope,) = torch.autograd.grad(gain, [e])
            e = (e + self.anchor_lr * slope).detach()
        return e


def _answers(net: Net, anchors: Tensors) -> Sequence[Tensor]:
    """Logits of all anchors, task by task; at once where tasks share their weights."""
    if not net.model.depends_on_task:
        return [net(torch.cat(list(anchors.values())), 0)]
    return [net(e, int(task)) for task, e in anchors.items()]
