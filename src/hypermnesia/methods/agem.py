"""A-GEM: the gradient of the batch, less the part that would raise the loss on remembered samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Count
from hypermnesia.core.tensors import NamedTensors, Tensors, add, dot
from hypermnesia.data import Task
from hypermnesia.methods.learner import Aux, Learner, Net, Step
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.method import Projecting
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay, ReplayState

Filling = Literal["reservoir", "task"]


@dataclass(frozen=True, kw_only=True)
class AGEM(Projecting):
    """g ← g − (g·r / r·r) r where g·r < 0 (Chaudhry et al. 2019, arXiv:1812.00420).

    g is the gradient of the batch's cross-entropy, r that of a draw from memory, both over all active outputs; a
    gradient that does not oppose the memory's is left alone. `fill=reservoir` is A-GEM-R of Buzzega et al. 2020.

    Differences: (1) draws are normalised and augmented like the batch, which Mammoth's A-GEM-R forgets. (2) With
    `fill=task` each finished task leaves a random choice of its samples, by default an equal share of the memory as in
    Buzzega et al.'s code of 2020, which takes the next batches of the task. (3) Penalties of the weights are not
    projected: they are added to the projected gradient. (4) On weights that depend on the task, each remembered sample
    passes its own task's network, and a parameter that only one of the two losses reaches counts as 0 in the other's
    gradient.
    """

    fill: Filling = "reservoir"
    """When the memory is written: after every step (reservoir), or once at a task's end (task)."""
    task_samples: Count | None = None
    """With fill=task: samples kept of each task; none = an equal share, memory.size // tasks of the stream."""
    memory: MemoryOptions = MemoryOptions(batch_size=128)
    """The replay memory. Published draws: 128 samples on the MNIST streams."""

    @property
    def needs_boundaries(self) -> bool:
        return self.fill == "task"

    def init(self, learner: Learner) -> ReplayState:
        if self.fill == "task":
            self._share(learner)  # an error where there is none
        return super().init(learner)

    def _share(self, learner: Learner) -> int:
        return self.task_samples or rehearsal.share_of_a_task(learner, self.memory)

    def references(self, net: Net, draw: Replay) -> tuple[Sequence[Tensor], Aux]:
        remembered = F.cross_entropy(rehearsal.logits(net, draw), draw.target)
        return [remembered], Aux({"memory": remembered.detach()})

    def turned(self, gradient: Tensors, references: Sequence[Tensors]) -> Tensors:
        return project(gradient, references[0])

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        return super().after_step(state, learner, step, rng) if self.fill == "reservoir" else state

    def end_task(self, state: ReplayState, learner: Learner, task: Task, rng: torch.Generator) -> ReplayState:
        if self.fill == "reservoir":
            return state
        return ReplayState(rehearsal.with_task(state.memory, task, self._share(learner), rng))


def project(gradient: NamedTensors, reference: NamedTensors) -> Tensors:
    """`gradient` without its component along `reference` if the two oppose each other, else as it is.

    Names that one side lacks count as zero there. Branches on no value, so that it compiles and stacks.
    """
    shared = [name for name in gradient if name in reference]
    if not shared:
        return add(gradient, {name: torch.zeros_like(r) for name, r in reference.items()})
    product = dot({n: gradient[n] for n in shared}, {n: reference[n] for n in shared})
    square = dot(reference, reference).clamp_min(torch.finfo(torch.float32).tiny)
    factor = torch.where(product < 0, product / square, 0)
    return add(gradient, {name: -factor * r for name, r in reference.items()})
