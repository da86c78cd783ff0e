"""A hypernetwork that reads a task: trained over episodes of the first tasks, then new tasks need no gradient step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hypermnesia.core.declared import Count, Natural
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import under_prefix
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase

EPISODES = "episodes"


@dataclass(frozen=True, kw_only=True)
class MetaHNet(Method):
    """Some samples of a batch are read, c = E(support), and cross-entropy is taken on the others at the weights h(c).

    In the first `base_tasks` tasks each step is such an episode, and what reads and what writes train together (first order:
    nothing is trained within an episode). Later tasks are read once, and train for `later` steps as any task on a
    hypernetwork does, at their stored code. After PAH (2025) and conditional neural processes (arXiv:1807.01613).
    """

    trains_reader = True

    shots: Count = 5
    """Samples of each class in a batch that an episode reads, ≥ 1: from 1 to so many, drawn for each class; those beyond are
    asked about."""
    base_tasks: Count = 1
    """Tasks at the beginning that are learned in episodes, for the run's own length each, ≥ 1."""
    later: Natural = 0
    """Training steps of each task after these, ≥ 0."""

    def init(self, learner: Learner) -> None:
        if learner.model.generator is None or learner.model.generator.reader is None:
            raise HypermnesiaError(
                "meta-hnet trains what reads the tasks, and nothing reads them here: set generator.condition=prototypes or set"
            )

    def phases(self, learner: Learner) -> Sequence[Phase]:
        if learner.task < self.base_tasks:
            return (Phase(EPISODES),)
        return (Phase(iterations=self.later),) if self.later else ()

    def draw(self, state: Any, learner: Learner, batch: Batch, rng: torch.Generator) -> Tensor | None:
        """(B,) 1 for the samples that are read and 0 for the others; None outside of episodes."""
        if learner.phase.name != EPISODES:
            return None
        order = torch.randperm(len(batch.target), generator=rng).to(batch.target.device)
        shuffled = batch.target[order]
        same = shuffled[:, None] == shuffled
        before = same.tril(-1).sum(1)  # samples of the same class that come earlier in this order
        most = torch.randint(1, self.shots + 1, (learner.num_classes,), generator=rng).to(shuffled.device)
        read = (before < most[shuffled]).float()
        return torch.empty_like(read).index_copy_(0, order, read)

    def loss(self, net: Net, state: Any, batch: Batch, draw: Tensor | None) -> tuple[Tensor, Aux]:
        if draw is None:
            logits = net(batch.x, batch.task)
            value = F.cross_entropy(logits, batch.target)
            return value, Aux({"cross_entropy": value.detach()}, logits.detach())
        generator = net.model.generator
        assert generator is not None and generator.reader is not None
        own = under_prefix("generator.reader.", net.params)
        code = functional_call(generator.reader, own, (batch.x, batch.target, draw), tie_weights=False)
        logits = net.at({f"generator.embeddings.{batch.task}": code})(batch.x, batch.task)
        outputs = torch.arange(logits.shape[1], device=logits.device)
        there = ((batch.target[:, None] == outputs) & (draw > 0)[:, None]).any(0)
        each = F.cross_entropy(logits.masked_fill(~there, -torch.inf), batch.target, reduction="none")
        asked = 1 - draw
        value = (each * asked).sum() / asked.sum().clamp(min=1)
        return value, Aux({"cross_entropy": value.detach()}, logits.detach())
