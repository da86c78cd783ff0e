"""BiC, bias correction: replay and distillation, then two numbers that bring the newest classes' logits to the scale of the
others (Wu, Chen, Wang, Ye, Liu, Guo & Fu 2019, arXiv:1905.13260).
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt, Lt
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.buffer import Memory, empty, insert
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.weights.model import evaluating

_ROWS = 500
"""Samples that pass the network at once when a task ends."""
_PARTS = 1009
"""Samples are held out by a checksum of so many values."""


@dataclass(frozen=True)
class BiCState:
    memory: Memory
    held_out: Memory
    """Samples that nothing trains on: the correction is found with them."""
    scale: Tensor
    """(outputs,): what each logit is multiplied by, 1 but for the latest finished task's classes."""
    shift: Tensor
    """(outputs,): what is added then, 0 but for those."""
    seen: Tensor
    """(outputs,) bool: classes met so far."""
    learned: Tensor
    """(outputs,) bool: classes of earlier tasks."""
    old: Tensors = field(default_factory=dict)
    """Every tensor of the model as the previous task left it; empty in the first task."""


@dataclass(frozen=True)
class BiCDraw:
    replay: Replay | None
    trained: Tensor
    """(B,) bool: rows of the batch that are not held out."""
    old: Tensor | None
    """(B + m, outputs) corrected logits of the previous task's network for batch and draw."""


@dataclass(frozen=True, kw_only=True)
class BiC(ReplayMethod):
    """(1 − λ) CE + λ T² · cross-entropy of softened old answers, over batch and draw as one, λ the share of old classes; then
    at a task's end q_k = scale · o_k + shift for its classes k (Wu et al. 2019, arXiv:1905.13260, eq. 1 to 5).

    CE is over the classes met so far, distillation over those of earlier tasks, from the corrected logits of the previous
    task's network. scale and shift minimise the cross-entropy of what is held out, of all classes alike; they are found by
    L-BFGS, which has one optimum to find. A correction lasts until the next task's end.

    Differences: (1) which samples are held out says a checksum of their pixels, about `held_out` of each class, and a share
    `held_out` of the memory keeps some; the paper splits memory and data at random. (2) The memory is rehearsed beside each
    batch; there it is merged into the task's data. (3) The factor T², and that only the latest classes are corrected, are
    those of X-DER's authors, whose λ is 1 / tasks, which is not the share of old classes.
    """

    temperature: Positive = 2.0
    """T > 0 of the distillation. Published: 2."""
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of samples that nothing trains on, above 0 and below 1. Published: 0.1."""
    memory: MemoryOptions = MemoryOptions(policy="class-balanced")
    """The replay memory, those that are held out included."""

    def init(self, learner: Learner) -> BiCState:
        if learner.model.depends_on_task:
            raise HypermnesiaError(
                "bic corrects logits of one head for all classes: take weights=plain with weights.head=shared"
            )
        few = max(1, round(self.held_out * self.memory.size))
        if few >= self.memory.size:
            raise HypermnesiaError(
                f"memory.size={self.memory.size} leaves nothing to rehearse beside what bic holds out: give more"
            )
        memory = rehearsal.empty_memory(learner, replace(self.memory, size=self.memory.size - few))
        policy, kind = self.memory.policy, learner.dtype
        held_out = empty(few, learner.shape, policy=policy, dtype=kind, device=learner.device)
        ones, none = torch.ones(learner.num_classes, device=learner.device), learner.mask(())
        return BiCState(memory, held_out, ones, torch.zeros_like(ones), none, none)

    def begin_task(self, state: BiCState, learner: Learner) -> BiCState:
        more = learner.num_classes - len(state.scale)
        return replace(
            state,
            scale=F.pad(state.scale, (0, more), value=1.0),
            shift=F.pad(state.shift, (0, more)),
            seen=learner.mask(learner.seen_classes),
            learned=learner.mask(learner.earlier_classes),
            old=tensors.padded(state.old, learner.model.stored()),
        )

    def draw(self, state: BiCState, learner: Learner, batch: Batch, rng: torch.Generator) -> BiCDraw:
        replay = rehearsal.rehearse(state.memory, learner, self.memory, rng)
        old = None
        if state.old:
            x = batch.x if replay is None else torch.cat([batch.x, replay.x])
            with torch.no_grad(), evaluating(learner.model):
                old = state.scale * Net(learner.model, state.old)(x, batch.task) + state.shift
        return BiCDraw(replay, ~is_held_out(batch.raw, self.held_out), old)

    def loss(self, net: Net, state: BiCState, batch: Batch, draw: BiCDraw) -> tuple[Tensor, Aux]:
        x, target, counts = batch.x, batch.target, draw.trained
        if draw.replay is not None:
            x, target = torch.cat([x, draw.replay.x]), torch.cat([target, draw.replay.target])
            counts = torch.cat([counts, torch.ones_like(draw.replay.target, dtype=torch.bool)])
        logits = net(x, batch.task)
        open_logits = torch.where(state.seen, logits, -1e9)
        each = F.cross_entropy(open_logits, target, reduction="none")
        value = _mean(each, counts)
        terms = {"cross_entropy": value.detach()}
        if draw.old is not None:
            now, then = (torch.where(state.learned, z / self.temperature, -1e9) for z in (logits, draw.old))
            taught = _mean(F.cross_entropy(now, then.softmax(1), reduction="none"), counts)
            share = state.learned.sum() / state.seen.sum()
            terms["distillation"] = taught.detach()
            value = (1 - share) * value + share * self.temperature**2 * taught
        return value, Aux(terms, logits[: len(batch.y)].detach())

    def after_step(self, state: BiCState, learner: Learner, step: Step, rng: torch.Generator) -> BiCState:
        return state

    def end_task(self, state: BiCState, learner: Learner, task: Task, rng: torch.Generator) -> BiCState:
        memory, held_out = state.memory, state.held_out
        for raw, y in rehearsal.shuffled(task, rng, _ROWS):
            apart = is_held_out(raw, self.held_out)
            memory = insert(memory, raw[~apart], y[~apart], task.index, None, rng)
            held_out = insert(held_out, raw[apart], y[apart], task.index, None, rng)
        scale, shift = torch.ones_like(state.scale), torch.zeros_like(state.shift)
        if task.index and held_out.filled:
            x, y = (t[: held_out.filled] for t in (held_out.x, held_out.y))
            with torch.no_grad(), evaluating(learner.model):
                logits = torch.cat(
                    [learner.model(learner.preprocess(r, None), task.index) for r in x.split(_ROWS)]
                )
            closed = torch.where(state.seen, logits, -1e9)
            fresh = learner.mask(task.classes)
            scale[fresh], shift[fresh] = correction(closed, y, fresh)
        old = tensors.copy(learner.model.stored())
        return replace(state, memory=memory, held_out=held_out, scale=scale, shift=shift, old=old)

    def scores(self, state: BiCState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """Corrected logits; while a task trains, the correction is still that of the task before."""
        return state.scale * learner.model(x, task) + state.shift


def is_held_out(raw: Tensor, share: float) -> Tensor:
    """(B,) bool: whether each of B raw samples belongs to the share that nothing trains on; the same for the same sample."""
    flat = raw.flatten(1).double()
    factors = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64, device=raw.device) * 7919 % _PARTS
    return (flat * factors).sum(1).remainder(_PARTS) < share * _PARTS


def correction(logits: Tensor, y: Tensor, fresh: Tensor) -> tuple[float, float]:
    """(scale, shift) of the `fresh` outputs (bool) that minimise the cross-entropy of `logits` (n, outputs) and classes y."""
    logits = logits.double()
    found = torch.tensor([1.0, 0.0], dtype=torch.float64, device=logits.device, requires_grad=True)
    solver = torch.optim.LBFGS([found], max_iter=200, line_search_fn="strong_wolfe")

    def close() -> Tensor:
        solver.zero_grad()
        with torch.enable_grad():
            loss = F.cross_entropy(torch.where(fresh, found[0] * logits + found[1], logits), y)
        loss.backward()
        return loss.detach()

    solver.step(close)
    scale, shift = found.tolist()
    return scale, shift


def _mean(each: Tensor, counts: Tensor) -> Tensor:
    """Mean of those rows that count; 0 if none does."""
    return torch.where(counts, each, 0).sum() / counts.sum().clamp_min(1)
