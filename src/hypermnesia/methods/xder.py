"""X-DER: DER++ whose memory learns what was not known when a sample went by, and whose unused outputs are kept low
(Boschini, Bonicelli, Buzzega, Porrello & Calderara 2022, arXiv:2201.00766).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Stream, Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import (
    ROWS,
    MemoryOptions,
    Replay,
    empty_memory,
    forward,
    rehearse_each,
    with_answers,
)
from hypermnesia.weights.model import evaluating

CLOSED = -1e9
"""Logit of an output that takes no part: probability 0, gradient 0."""


@dataclass(frozen=True)
class XDERState:
    memory: Memory
    """With logits. Those of outputs that were still unused when a sample went by are filled in later."""
    owner: Tensor
    """(outputs,) int64: the task that brings each class."""
    updates: Tensor
    """(M,) on the host: how often each slot's logits could have been filled in within the task."""


@dataclass(frozen=True)
class XDERDraw:
    by_logits: Replay
    by_labels: Replay
    first: Tensor
    """(2m,) bool: whether a row of the two draws is the first of its slot."""


@dataclass(frozen=True, kw_only=True)
class XDER(ReplayMethod):
    """CE(f(x) on open outputs, y) + alpha · MSE(f(x'), z') + beta · CE(f(x'') on past outputs, y'') + eta · (hinges), two
    draws x', x'' (Boschini et al. 2022, arXiv:2201.00766), in its two variants without contrastive training.

    Outputs are past, present or future by the task that brings their class. Open are present and future ones (ce), or the
    present alone (rpc, which asks for weights.classifier=simplex). Hinges, each a mean over the samples where it is above 0:
    (future, batch and both draws) largest future logit + margin − largest logit of the sample's own task; (past, batch, ce)
    largest past probability, as it is, + margin − largest present one. After a step drawn samples of earlier tasks get their
    logits of present and future outputs anew, the k-th time within a task with probability 1/k; after a task all of them do.
    Logits put in are scaled by gamma · z_y / max where their largest exceeds the remembered one of the true class.

    Differences: (1) the memory is class-balanced and filled at a task's end from all of its samples; the code takes the first
    ones of a pass. ce, which rehearses in its first task as well, fills it from the stream there. (2) What is put in comes
    from evaluation mode at a task's end. (3) The training of future outputs by contrast (X-DER proper) is not there.
    """

    keeps_logits: ClassVar[bool] = True

    variant: Literal["ce", "rpc"] = "ce"
    """How unused outputs are prepared: by cross-entropy, or by a classifier of fixed corners."""
    alpha: NotNegative = 0.3
    """Weight of the remembered logits, ≥ 0. Published: 0.3 or 0.6 (X-DER on S-CIFAR-100)."""
    beta: NotNegative = 0.8
    """Weight of the remembered labels, ≥ 0. Published: 0.8 or 0.9 (X-DER on S-CIFAR-100)."""
    gamma: NotNegative = 0.85
    """What new logits are scaled down to, of the true class's, ≥ 0. Published: 0.85."""
    eta: NotNegative = 0.1
    """Weight of the hinges, ≥ 0. Published: 0.001 to 0.1."""
    margin: NotNegative = 0.3
    """Margin of the hinges, ≥ 0. Published: 0.3; 0.2 to 0.7 (X-DER)."""
    joint_forward: bool | None = None
    """Whether batch and draws pass the network together, which batch norm notices. none = unless it has batch norm."""
    memory: MemoryOptions = MemoryOptions(policy="class-balanced")
    """The replay memory; published: equal parts for all classes."""

    def check(self, stream: Stream) -> None:
        super().check(stream)
        classes = [c for task in stream.tasks for c in task.classes]
        if len(set(classes)) < len(classes):
            raise HypermnesiaError(
                f"xder needs tasks with classes of their own, and in {stream.name} classes come again: take der or derpp"
            )

    def init(self, learner: Learner) -> XDERState:
        if learner.model.depends_on_task:
            raise HypermnesiaError(
                "xder compares outputs of all tasks: take weights=plain with weights.head=shared"
            )
        memory = empty_memory(learner, self.memory, logits=True)
        return XDERState(memory, _owners(learner), torch.zeros(self.memory.size))

    def begin_task(self, state: XDERState, learner: Learner) -> XDERState:
        state = super().begin_task(state, learner)
        return replace(state, owner=_owners(learner), updates=torch.zeros_like(state.updates))

    def draw(self, state: XDERState, learner: Learner, batch: Batch, rng: torch.Generator) -> XDERDraw | None:
        drawn = rehearse_each(state.memory, learner, self.memory, rng, 2)
        if not drawn:
            return None
        by_logits, by_labels = drawn
        slots = torch.cat([by_logits.index, by_labels.index])
        again = (slots[:, None] == slots).tril(-1).any(1)
        return XDERDraw(by_logits, by_labels, ~again)

    def loss(self, net: Net, state: XDERState, batch: Batch, draw: XDERDraw | None) -> tuple[Tensor, Aux]:
        replays = [] if draw is None else [draw.by_logits, draw.by_labels]
        logits, found = forward(net, batch.x, batch.task, replays, self.joint_forward)
        owner, now = state.owner, batch.task
        opened = owner >= now if self.variant == "ce" else owner == now
        own = F.cross_entropy(torch.where(opened, logits, CLOSED), batch.target)
        terms = {"cross_entropy": own}
        future = owner > now
        high = [torch.where(future, logits, -torch.inf).amax(1)]
        low = [torch.where(owner == now, logits, -torch.inf).amax(1)]
        counts = torch.ones_like(low[0], dtype=torch.bool)
        said = [logits, *found]
        if draw is not None and draw.by_logits.logits is not None:
            past = owner < now if now else owner == 0
            remembered = torch.where(past, found[1], CLOSED)
            terms["logits"] = self.alpha * F.mse_loss(found[0], draw.by_logits.logits)
            terms["labels"] = self.beta * F.cross_entropy(remembered, draw.by_labels.target)
            replayed, y = torch.cat(found), torch.cat([draw.by_logits.y, draw.by_labels.y])
            high.append(torch.where(future, replayed, -torch.inf).amax(1))
            low.append(torch.where(owner == owner[y][:, None], replayed, -torch.inf).amax(1))
            counts = torch.cat([counts, draw.first])
        assert net.model.head is not None
        if now + 1 < len(net.model.head.classes):
            terms["future"] = self.eta * _hinge(torch.cat(high) + self.margin - torch.cat(low), counts)
        if self.variant == "ce" and now:
            shares = torch.where(owner <= now, logits, CLOSED).softmax(1)
            past_share = torch.where(owner < now, shares, 0).amax(1).detach()
            gap = past_share + self.margin - torch.where(owner == now, shares, 0).amax(1)
            terms["past"] = self.eta * _hinge(gap, torch.ones_like(gap, dtype=torch.bool))
        total = torch.stack(list(terms.values())).sum()
        return total, Aux({name: term.detach() for name, term in terms.items()}, torch.cat(said).detach())

    def after_step(self, state: XDERState, learner: Learner, step: Step, rng: torch.Generator) -> XDERState:
        """`step.aux.logits` holds the batch's rows and those of both draws."""
        now, draw, said = step.batch.task, step.draw, step.aux.logits
        assert said is not None
        if draw is not None:
            slots = torch.cat([draw.by_logits.index, draw.by_labels.index]).cpu()
            chances = torch.rand(len(slots), generator=rng)
            older = draw.first.cpu() & (state.memory.task[slots] < now)
            state.updates[slots[older]] += 1
            rows = (older & (chances * state.updates[slots] < 1)).nonzero().flatten()
            fill_in(
                state.memory, slots[rows], said[len(step.batch.y) :][rows], state.owner >= now, self.gamma
            )
        if now or self.variant == "rpc":
            return state
        own = replace(step, aux=Aux(logits=said[: len(step.batch.y)]))
        return super().after_step(state, learner, own, rng)

    def end_task(self, state: XDERState, learner: Learner, task: Task, rng: torch.Generator) -> XDERState:
        model, owner, now = learner.model, state.owner, task.index
        memory = state.memory if now else empty_memory(learner, self.memory, logits=True)
        known = owner < now
        memory = with_answers(memory, learner, task, rng, lambda z, y: scaled(z, z, y, known, self.gamma))
        with torch.no_grad(), evaluating(model):
            older = (memory.task[: memory.filled] < now).nonzero().flatten()
            filled = owner == now if self.variant == "ce" else owner >= now
            for slots in older.split(ROWS):
                x = learner.preprocess(memory.x[slots.to(memory.x.device)], None)
                fill_in(memory, slots, model(x, now).float(), filled, self.gamma)
        return replace(state, memory=memory)


def fill_in(memory: Memory, slots: Tensor, logits: Tensor, outputs: Tensor, gamma: float) -> None:
    """Put `logits` (n, outputs) of now, scaled, into those `outputs` (bool) of the remembered logits of `slots` (n,)."""
    assert memory.logits is not None
    slots = slots.to(memory.logits.device)
    memory.logits[slots] = scaled(memory.logits[slots], logits, memory.y[slots], outputs, gamma)


def scaled(old: Tensor, new: Tensor, y: Tensor, outputs: Tensor, gamma: float) -> Tensor:
    """`old` logits (n, outputs) with `new` ones in `outputs` (bool), scaled by gamma · old_y / max where the largest of them
    is above old_y, the old logit of the class y (n,)."""
    if not outputs.any():
        return old
    true = old.gather(1, y[:, None])
    largest = torch.where(outputs, new, -torch.inf).amax(1, keepdim=True)
    return torch.where(outputs, torch.where(largest > true, new * (gamma * true / largest), new), old)


def _owners(learner: Learner) -> Tensor:
    """(outputs,) int64: the task that brings each class; of classes that none brings, none of the stream's."""
    owner = torch.full((learner.num_classes,), len(learner.classes), device=learner.device)
    for task, classes in enumerate(learner.classes):
        owner[list(classes)] = task
    return owner


def _hinge(gap: Tensor, counts: Tensor) -> Tensor:
    """Mean of the gaps above 0 among those that count; 0 if there is none."""
    above = counts & (gap > 0)
    return torch.where(above, gap, 0).sum() / above.sum().clamp_min(1)
