"""PackNet: each task prunes the weights that it trained, keeps the largest for good, and leaves the rest to the next
(Mallya & Lazebnik 2018, arXiv:1711.05769).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt, Lt
from torch import Tensor

from hypermnesia.core.declared import Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Step
from hypermnesia.methods.stages import Lookahead
from hypermnesia.weights.model import Model

FREE = -1
"""Owner of a weight that no task keeps yet."""


@dataclass(frozen=True)
class PackNetState:
    owner: Tensors
    """Name of a shared matrix or kernel → int64 of its shape: the task that keeps each weight, or `FREE`."""


@dataclass(frozen=True)
class PackNetDraw:
    open: Tensors
    """Name of a shared parameter → bool of its shape: what may move in this step."""
    owner: Tensors | None = None
    """The owners after the pruning that this step begins with."""


@dataclass(frozen=True, kw_only=True)
class PackNet(Method):
    """Cross-entropy on the weights that are still free; then the share `prune` of them of smallest size is set to 0 and left
    to later tasks, layer by layer, and the others are trained once more and rest for good (Mallya & Lazebnik 2018,
    arXiv:1711.05769).

    Task t uses the weights that tasks 0 … t keep, and a classifier of its own. Biases and norm layers are trained with the
    first task and rest afterwards. What answers is the task's own network: the task has to be known, or is inferred.

    Differences: (1) running statistics of norm layers are each task's own. (2) Weight decay and momentum do not reach what
    rests. (3) The paper's networks begin pre-trained on ImageNet; here `weights.base` may be given.
    """

    prune: Annotated[float, Gt(0), Lt(1)] = 0.75
    """Share of a task's weights that is given back, above 0 and below 1. Published: 0.5, 0.75 and 0.9."""
    retrain_epochs: Positive = 1.0
    """Passes over the task after pruning, > 0. Published: half as many as before it."""

    watches_parameters = True

    @property
    def needs_boundaries(self) -> bool:
        return True

    def init(self, learner: Learner) -> PackNetState:
        model, head = learner.model, learner.model.head
        if model.generator is not None or head is None or head.kind != "per_task":
            raise HypermnesiaError(
                "packnet packs plain weights under a classifier for each task: take weights=plain with "
                "weights.head=per_task and weights.per_task=[head.*]"
            )
        names = [f"target.{name}" for name, role in model.roles.items() if role == "shared"]
        values = {name: model.get_parameter(name) for name in names}
        return PackNetState(
            {n: torch.full_like(p, FREE, dtype=torch.int64) for n, p in values.items() if p.ndim > 1}
        )

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return Phase(), Phase("retrain", epochs=self.retrain_epochs)

    def draw(self, state: PackNetState, learner: Learner, batch: Batch, rng: torch.Generator) -> PackNetDraw:
        """At the first step of the second phase the weights are pruned."""
        owner, pruned = state.owner, None
        if learner.phase.name == "retrain" and learner.progress == 0:
            owner = pruned = self._pruned(owner, learner.model, batch.task)
        wanted = batch.task if learner.phase.name == "retrain" else FREE
        opened = {}
        for name, role in learner.model.roles.items():
            if role == "shared":
                parameter = learner.model.get_parameter(f"target.{name}")
                own = owner.get(f"target.{name}")
                first = torch.full_like(parameter, batch.task == 0, dtype=torch.bool)
                opened[f"target.{name}"] = first if own is None else own == wanted
        return PackNetDraw(opened, pruned)

    @torch.no_grad()
    def _pruned(self, owner: Tensors, model: Model, task: int) -> Tensors:
        """The owners when the task has kept its largest weights; those that it gives back are set to 0."""
        found = {}
        for name, own in owner.items():
            weight, kept = model.get_parameter(name), own.flatten().clone()
            free = (kept == FREE).nonzero().flatten()
            order = weight.abs().flatten()[free].argsort(stable=True)
            kept[free] = task
            kept[free[order[: int(self.prune * len(free))]]] = FREE
            found[name] = kept.view_as(own)
            weight[found[name] == FREE] = 0
        return found

    def loss(self, net: Net, state: PackNetState, batch: Batch, draw: PackNetDraw) -> tuple[Tensor, Aux]:
        value = F.cross_entropy(net(batch.x, batch.task), batch.target)
        return value, Aux({"cross_entropy": value.detach()})

    def gradients(
        self, net: Net, state: PackNetState, batch: Batch, draw: PackNetDraw, candidate: Lookahead
    ) -> tuple[Tensors, Tensor, Aux]:
        found, value, aux = super().gradients(net, state, batch, draw, candidate)
        moved = {n: torch.where(draw.open[n], g, 0) if n in draw.open else g for n, g in found.items()}
        return moved, value, aux

    def after_step(
        self, state: PackNetState, learner: Learner, step: Step, rng: torch.Generator
    ) -> PackNetState:
        draw = step.draw
        for name, opened in draw.open.items():  # momentum and weight decay move what has no gradient
            step.after[name].copy_(torch.where(opened, step.after[name], step.before[name]))
        return state if draw.owner is None else replace(state, owner=draw.owner)

    def scores(self, state: PackNetState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """Logits with what the tasks up to `task` keep, and what is still free where the task is in training."""
        model, overlay = learner.model, learner.model.overlay(task)
        for name, own in state.owner.items():
            used = (own >= 0) & (own <= task)
            if task == learner.task:
                used = used | (own == FREE)
            overlay[name.removeprefix("target.")] = torch.where(used, model.get_parameter(name), 0)
        return model.call(overlay, x, task)
