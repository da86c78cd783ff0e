"""CLS-ER, dual memory experience replay: two slowly moving copies of the network teach it what is remembered, and one of
them answers (Arani, Sarfraz & Zonooz 2022, arXiv:2201.12604).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import Fraction, NotNegative
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class CLSERState:
    memory: Memory
    plastic: Tensors
    """Every tensor of the model, in the fast mean; empty before the first task."""
    stable: Tensors
    """The same in the slow mean, which answers."""
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class CLSER(ReplayMethod):
    """L = CE over batch and draw + strength · mean (f(x') − z')² (Arani et al. 2022, arXiv:2201.12604, eq. 1 to 4).

    z' are the logits of that one of two mean networks, a plastic and a stable one, which gives the sample's class more
    probability. After a step each moves with its probability: θ̄ ← a θ̄ + (1 − a) θ, a = min(1 − 1/(steps + 1), alpha). The
    stable one answers. The mean is over samples and outputs.

    Differences: (1) the mean networks teach in evaluation mode, and their running statistics are means as well; the authors'
    code runs them in training mode. (2) Batch and draw pass the network once, in one forward, for both terms. (3) On weights
    that depend on the task, each remembered sample passes its own task's network and is compared on that task's outputs.
    """

    strength: NotNegative = 0.1
    """λ, weight of the teachers, ≥ 0. Published: 0.15 S-CIFAR-10, 0.75 R-MNIST, 1 P-MNIST, 2 S-MNIST."""
    plastic_alpha: Fraction = 0.999
    """What the plastic network keeps of itself when it moves, 0 to 1. Published: 0.99, 0.999 S-CIFAR-10."""
    plastic_rate: Fraction = 0.9
    """Probability that it moves after a step, 0 to 1, above that of the stable one. Published: 0.3 to 1."""
    stable_alpha: Fraction = 0.999
    """What the stable network keeps of itself when it moves, 0 to 1. Published: 0.99 or 0.999."""
    stable_rate: Fraction = 0.7
    """Probability that it moves after a step, 0 to 1. Published: 0.1 to 1."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir."""

    def init(self, learner: Learner) -> CLSERState:
        return CLSERState(rehearsal.empty_memory(learner, self.memory), {}, {})

    def begin_task(self, state: CLSERState, learner: Learner) -> CLSERState:
        """What is new in the model begins in the means as it begins in the model; new outputs with 0."""
        now = learner.model.stored()
        plastic, stable = (
            tensors.copy(now) | tensors.padded(mean, now) for mean in (state.plastic, state.stable)
        )
        return replace(state, plastic=plastic, stable=stable)

    def draw(self, state: CLSERState, learner: Learner, batch: Batch, rng: torch.Generator) -> Replay | None:
        """What is rehearsed, with the better teacher's logits."""
        replay = rehearsal.rehearse(state.memory, learner, self.memory, rng)
        if replay is None:
            return None
        with torch.no_grad(), evaluating(learner.model):
            plastic, stable = (
                rehearsal.logits(Net(learner.model, mean), replay).float()
                for mean in (state.plastic, state.stable)
            )
        ours, theirs = (z.softmax(1).gather(1, replay.target[:, None]) for z in (stable, plastic))
        return replace(replay, logits=torch.where(ours > theirs, stable, plastic))

    def loss(self, net: Net, state: CLSERState, batch: Batch, draw: Replay | None) -> tuple[Tensor, Aux]:
        if draw is None or draw.logits is None:
            return super().loss(net, state, batch, None)
        logits = rehearsal.joint_logits(net, batch.x, batch.task, draw)
        target = torch.cat([batch.target, draw.target])
        value = F.cross_entropy(logits, target)
        student = logits[len(batch.target) :, : draw.logits.shape[1]]
        taught = self.strength * rehearsal.squared_error(student, draw)
        terms = {"cross_entropy": value.detach(), "teachers": taught.detach()}
        return value + taught, Aux(terms)

    def after_step(self, state: CLSERState, learner: Learner, step: Step, rng: torch.Generator) -> CLSERState:
        steps, now = state.steps + 1, learner.model.stored()
        chances = torch.rand(2, generator=rng).tolist()
        plastic = _moved(state.plastic, now, self.plastic_alpha, steps, chances[0] < self.plastic_rate)
        stable = _moved(state.stable, now, self.stable_alpha, steps, chances[1] < self.stable_rate)
        state = replace(state, plastic=plastic, stable=stable, steps=steps)
        return super().after_step(state, learner, step, rng)

    def scores(self, state: CLSERState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """Logits of the stable network; before the first step the model's own."""
        return Net(learner.model, state.stable)(x, task) if state.steps else None


def _moved(mean: Tensors, now: Tensors, alpha: float, steps: int, moves: bool) -> Tensors:
    """The mean moved towards the model's tensors; what is no fraction is taken over."""
    if not moves:
        return mean
    share = max(1 / (steps + 1), 1 - alpha)
    return {
        name: value.lerp(now[name].detach(), share) if value.is_floating_point() else now[name].clone()
        for name, value in mean.items()
    }
