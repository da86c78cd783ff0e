"""A hypernetwork that reads a task: trained over episodes of the first tasks, then new tasks need no gradient step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hypermnesia.core.declared import Count, Natural, NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors, under_prefix
from hypermnesia.data import Task
from hypermnesia.data.sources.stratify import first
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase

EPISODES = "episodes"


@dataclass(frozen=True)
class Held:
    """Samples of the base tasks that have ended, by task (as text), while further base tasks are to come."""

    opaque: ClassVar[bool] = True
    """They come to a loss with the draw."""

    raw: Tensors = field(default_factory=dict)
    """(n, …) as the stream has them."""
    target: Tensors = field(default_factory=dict)
    """(n,) int64 positions among the task's outputs."""
    code: Tensors = field(default_factory=dict)
    """What was read from them when the task had ended, of the shape of an embedding."""


@dataclass(frozen=True)
class Support:
    """Held samples of one task, ready to be read."""

    x: Tensor
    """(n, …) network input."""
    target: Tensor
    code: Tensor | None
    """What was read from them when the task had ended, where what reads is held to it."""
    stored: Tensor | None
    """The task's own code, which all its support samples were read for, where they are rehearsed."""


@dataclass(frozen=True)
class Episode:
    read: Tensor
    """(B,) 1 for the samples that are read and 0 for the others."""
    asked: Tensor
    """(B,) 1 for the samples that are asked about and 0 for the others."""
    held: Support | None = None
    """Of one earlier task."""


@dataclass(frozen=True, kw_only=True)
class MetaHNet(Method):
    """Some samples of a batch are read, c = E(support), and cross-entropy is taken on the others at the weights h(c).

    In the first `base_tasks` tasks each step is such an episode, and what reads and what writes train together (first order:
    nothing is trained within an episode). Later tasks are read once, and train for `later` steps as any task on a
    hypernetwork does, at their stored code. After PAH (2025) and conditional neural processes (arXiv:1807.01613).

    With `hold` λ each step adds λ · ‖E(S_j) − c_j‖² for one earlier base task j, drawn anew: S_j are `hold_samples` training
    samples of each of its classes and c_j what E read from them when j had ended. They are dropped when the base is learned.
    With `rehearse` the step adds their cross-entropy at the stored code of j as well.
    """

    trains_reader = True

    shots: Count = 5
    """Samples of each class in a batch that an episode reads, ≥ 1: from 1 to so many, drawn for each class; those beyond are
    asked about."""
    ways: Count | None = None
    """Classes of a batch that an episode is about, drawn anew, ≥ 1; samples of others are left out. none = all that are in it."""
    base_tasks: Count = 1
    """Tasks at the beginning that are learned in episodes, for the run's own length each, ≥ 1."""
    later: Natural = 0
    """Training steps of each task after these, ≥ 0."""
    hold: NotNegative = 0.0
    """Strength λ ≥ 0 with which what reads goes on to read of earlier base tasks what it did; 0 keeps no samples."""
    hold_samples: Count = 10
    """Samples of each class that are kept for that, of each base task but the last, at most; ≥ 1."""
    rehearse: NotNegative = 0.0
    """Weight ≥ 0 of the held samples' cross-entropy at the stored code of their task, which keeps what is written there."""

    @property
    def needs_boundaries(self) -> bool:
        return self._holds

    @property
    def _holds(self) -> bool:
        return self.hold > 0 or self.rehearse > 0

    def init(self, learner: Learner) -> Held | None:
        if learner.model.generator is None or learner.model.generator.reader is None:
            raise HypermnesiaError(
                "meta-hnet trains what reads the tasks, and nothing reads them here: set generator.condition=prototypes or set"
            )
        if self.rehearse and len({len(own) for own in learner.classes[: self.base_tasks]}) > 1:
            raise HypermnesiaError(
                "method.rehearse is for base tasks of as many classes each: take method.hold alone, or other tasks"
            )
        head = learner.model.head
        if self.rehearse and (head is None or head.kind == "sliced" or learner.model.stores):
            raise HypermnesiaError(
                "method.rehearse asks what is written at an earlier task's code, and here that task has more of its own: take "
                "head=per_task, and neither weights nor statistics that are stored for each task (weights.statistics=shared)"
            )
        return Held() if self._holds else None

    def phases(self, learner: Learner) -> Sequence[Phase]:
        if learner.task < self.base_tasks:
            return (Phase(EPISODES),)
        return (Phase(iterations=self.later),) if self.later else ()

    def draw(
        self, state: Held | None, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> Episode | None:
        """Who is read, and which earlier task is held; None outside of episodes."""
        if learner.phase.name != EPISODES:
            return None
        order = torch.randperm(len(batch.target), generator=rng).to(batch.target.device)
        shuffled = batch.target[order]
        same = shuffled[:, None] == shuffled
        before = same.tril(-1).sum(1)  # samples of the same class that come earlier in this order
        most = torch.randint(1, self.shots + 1, (learner.num_classes,), generator=rng).to(shuffled.device)
        read = (before < most[shuffled]).float()
        read = torch.empty_like(read).index_copy_(0, order, read)
        asked = 1 - read
        if self.ways is not None:
            there = batch.target.unique().cpu()
            chosen = there[torch.randperm(len(there), generator=rng)[: self.ways]].to(batch.target.device)
            within = torch.isin(batch.target, chosen).float()
            read, asked = read * within, asked * within
        if state is None or not state.raw:
            return Episode(read, asked)
        task = list(state.raw)[int(torch.randint(len(state.raw), (), generator=rng))]
        generator, x = learner.model.generator, learner.preprocess(state.raw[task], None)
        assert generator is not None
        code = state.code[task] if self.hold else None
        stored = generator.embeddings[int(task)].detach() if self.rehearse else None
        return Episode(read, asked, Support(x, state.target[task], code, stored))

    def loss(self, net: Net, state: Held | None, batch: Batch, draw: Episode | None) -> tuple[Tensor, Aux]:
        if draw is None:
            logits = net(batch.x, batch.task)
            value = F.cross_entropy(logits, batch.target)
            return value, Aux({"cross_entropy": value.detach()}, logits.detach())
        generator = net.model.generator
        assert generator is not None and generator.reader is not None
        own = under_prefix("generator.reader.", net.params)
        code = functional_call(generator.reader, own, (batch.x, batch.target, draw.read), tie_weights=False)
        row = f"generator.embeddings.{batch.task}"
        logits = net.at({row: code})(batch.x, batch.task)
        outputs = torch.arange(logits.shape[1], device=logits.device)
        there = ((batch.target[:, None] == outputs) & (draw.read > 0)[:, None]).any(0)
        target = torch.where(
            draw.asked > 0, batch.target, -100
        )  # those left out have no logit among what was read
        total = F.cross_entropy(
            logits.masked_fill(~there, -torch.inf), target, reduction="sum", ignore_index=-100
        )
        value = total / draw.asked.sum().clamp(min=1)
        terms = {"cross_entropy": value.detach()}
        if draw.held is not None:
            if draw.held.code is not None:
                given = (draw.held.x, draw.held.target)
                again = functional_call(generator.reader, own, given, tie_weights=False)
                apart = self.hold * (again - draw.held.code).square().sum()
                value, terms["hold"] = value + apart, apart.detach()
            if draw.held.stored is not None:
                then = net.at({row: draw.held.stored})(draw.held.x, batch.task)
                kept = self.rehearse * F.cross_entropy(then, draw.held.target)
                value, terms["rehearse"] = value + kept, kept.detach()
        return value, Aux(terms, logits.detach())

    @torch.no_grad()
    def end_task(self, state: Held | None, learner: Learner, task: Task, rng: torch.Generator) -> Held | None:
        """With the task's samples, if another base task follows; after the last of these nothing moves what reads."""
        if state is None:
            return None
        if learner.task >= self.base_tasks - 1:
            return Held()
        generator = learner.model.generator
        assert generator is not None and generator.reader is not None
        raw, y = task.train.batch(first(task.train.y, self.hold_samples))
        target, name = learner.targets(y, task.index), str(task.index)
        code = generator.reader(learner.preprocess(raw, None), target)
        return Held(state.raw | {name: raw}, state.target | {name: target}, state.code | {name: code})
