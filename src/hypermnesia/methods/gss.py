"""GSS, gradient-based sample selection, the greedy form: the memory prefers samples whose gradients differ from those of the
samples that it holds (Aljundi, Lin, Goujaud & Bengio 2019, arXiv:1903.08671).
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap

from hypermnesia.core.declared import Count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.learner import Learner, Net, Step
from hypermnesia.methods.replay import buffer
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, ReplayState
from hypermnesia.weights.model import evaluating

Gate = Literal["sample", "batch"]
_FIRST = 0.1
"""Score of the samples that come while nothing is held, as in the code of DER's authors."""


@dataclass(frozen=True, kw_only=True)
class GSS(ReplayMethod):
    """Experience replay from a memory that is filled greedily by gradients (Aljundi et al. 2019, arXiv:1903.08671, algorithm 2).

    A sample's score is c = 1 + the largest cosine of its gradient with those of `compared` samples of the memory. Once the
    memory is full, a sample with c < 1 challenges sample i, drawn with probability C_i / Σ C, and takes its place with
    probability C_i / (C_i + c); C are the scores with which the held samples came.

    `gate="batch"` is the rule of DER's authors' code: a batch challenges if 1 + the largest cosine of its own gradient, the
    mean of its samples', is below 1, and then with all its samples, whatever their own scores. While there is room its
    samples enter with that score of the batch.

    Differences: (1) all samples of a batch are compared with the same draw from memory, and not with one another. (2) On
    weights that depend on the task, gradients are those of each sample's own task with respect to what trains now.
    """

    policies: ClassVar[tuple[str, ...]] = ("greedy",)

    compared: Count = 10
    """Samples of the memory that each new one is compared with, ≥ 1. Published: 10 to 128."""
    gate: Gate = "sample"
    """Whose gradient lets a sample challenge a full memory: its own (the paper), or its batch's (the published figures' code)."""
    memory: MemoryOptions = MemoryOptions(policy="greedy")
    """The replay memory; its policy is greedy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory.policy != "greedy":
            raise HypermnesiaError(f"gss: memory.policy={self.memory.policy} must be greedy")

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        memory, batch = state.memory, step.batch
        chances = torch.rand(2, len(batch.y), dtype=torch.float64, generator=rng)
        scores, below = torch.full((len(batch.y),), _FIRST, dtype=torch.float64), 1.0
        if memory.filled:
            held = buffer.draw(memory, self.compared, rng)
            with evaluating(learner.model):
                theirs = F.normalize(gradients(learner, held.x, held.y, memory.task[held.index.cpu()]))
                tasks = torch.full((len(batch.y),), batch.task)
                own = gradients(learner, batch.raw, batch.y, tasks)
            scores = 1 + (F.normalize(own) @ theirs.T).amax(1).double().cpu()
            if self.gate == "batch":
                whole = 1 + float((F.normalize(own.mean(0, keepdim=True)) @ theirs.T).amax())
                below = math.inf if whole < 1 else 0.0
                scores[: memory.capacity - memory.filled] = whole
        places = chosen(memory, scores.tolist(), chances.T.tolist(), below)
        kept = buffer.store(memory, places, batch.raw, batch.y, batch.task, None, scores)
        return replace(state, memory=kept)


def chosen(
    memory: Memory, scores: list[float], chances: list[list[float]], below: float = 1.0
) -> buffer.Places:
    """Slots and rows of those of a batch that enter, one after the other; a full memory is challenged by scores `below` that."""
    held, entered = memory.keys[: memory.filled].tolist(), {}
    for row, (score, (which, wins)) in enumerate(zip(scores, chances, strict=True)):
        if len(held) < memory.capacity:
            entered[len(held)] = row
            held.append(score)
        elif score < below:
            sums = list(accumulate(held))
            slot = min(bisect_left(sums, which * sums[-1]), len(held) - 1)
            if wins * (held[slot] + score) < held[slot]:
                held[slot], entered[slot] = score, row
    return list(entered), list(entered.values())


def gradients(learner: Learner, raw: Tensor, y: Tensor, tasks: Tensor) -> Tensor:
    """(n, P): each sample's gradient of the cross-entropy, without augmentation, by all P trained numbers.

    `raw` (n, …) samples, `y` (n,) global class ids, `tasks` (n,) whose samples they are.
    """
    model = learner.model
    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    x, found = learner.preprocess(raw, None), []
    for task in tasks.unique().tolist():
        rows = (tasks == task).nonzero().flatten().to(x.device)

        def loss(params: Tensors, x: Tensor, target: Tensor, task: int = task) -> Tensor:
            return F.cross_entropy(Net(model, params)(x[None], task), target[None])

        own = vmap(grad(loss), in_dims=(None, 0, 0))(params, x[rows], learner.targets(y[rows], task))
        flat = torch.cat([g.flatten(1) for g in own.values()], 1)
        found += zip(rows.tolist(), flat, strict=True)
    return torch.stack([row for _, row in sorted(found, key=itemgetter(0))])
