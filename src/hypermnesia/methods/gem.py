"""GEM, gradient episodic memory: the step that is nearest to the batch's gradient and opposes the gradient of no earlier
task's memory (Lopez-Paz & Ranzato 2017, arXiv:1706.08840).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.method import Projecting
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay, ReplayState

_RIDGE = 1e-3
"""Added to the diagonal of G Gᵀ, as in the authors' code."""
_ITERATIONS = 40
"""Of the interior-point method; each brings the gap to about a fifth."""


@dataclass(frozen=True, kw_only=True)
class GEM(Projecting):
    """g ← g + Gᵀv, v = argmin_{v ≥ gamma} ½ vᵀ(G Gᵀ + 10⁻³ I)v + gᵀGᵀv, where some ⟨g, G_k⟩ < 0; else g (Lopez-Paz & Ranzato
    2017, arXiv:1706.08840, eq. 11).

    g is the gradient of the batch's cross-entropy, G_k that of all that is remembered of the earlier task k.

    Differences: (1) v ≥ gamma is the bound of the authors' code; the paper adds gamma to the solution for v ≥ 0. (2) Each
    task's equal part of the memory is a random choice of its samples, made at its end; the paper's are its last ones.
    (3) Penalties are not projected: they are added to the projected gradient. (4) On weights that depend on the task, what is
    remembered passes its own task's network, and a parameter that a loss does not reach counts as 0 in its gradient.
    """

    gamma: NotNegative = 0.5
    """Least weight of each earlier task's gradient where one is opposed, ≥ 0. Published: 0.5 or 1."""
    memory: MemoryOptions = MemoryOptions()
    """The memory; its `batch_size` is not used: a step looks at all of it."""

    def init(self, learner: Learner) -> ReplayState:
        rehearsal.share_of_a_task(learner, self.memory)  # an error where there is none
        return super().init(learner)

    def draw(self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator) -> Replay | None:
        """All that is remembered of earlier tasks."""
        return rehearsal.remembered(state.memory, learner, rng, range(batch.task))

    def references(self, net: Net, draw: Replay) -> tuple[Sequence[Tensor], Aux]:
        losses = [
            F.cross_entropy(net(draw.x[b.start : b.stop], b.task), draw.target[b.start : b.stop])
            for b in draw.blocks
        ]
        return losses, Aux()

    def turned(self, gradient: Tensors, references: Sequence[Tensors]) -> Tensors:
        return project(gradient, references, self.gamma)

    def after_step(
        self, state: ReplayState, learner: Learner, step: Step, rng: torch.Generator
    ) -> ReplayState:
        return state

    def end_task(self, state: ReplayState, learner: Learner, task: Task, rng: torch.Generator) -> ReplayState:
        share = rehearsal.share_of_a_task(learner, self.memory)
        return ReplayState(rehearsal.with_task(state.memory, task, share, rng))


def project(gradient: Tensors, references: Sequence[Tensors], gamma: float) -> Tensors:
    """`gradient` turned so that it opposes none of `references`, where it opposes one; a name that a side lacks is zero."""
    like = {name: g for one in (*references, gradient) for name, g in one.items()}

    def flat(one: Tensors) -> Tensor:
        return torch.cat(
            [one[n].flatten() if n in one else torch.zeros_like(g).flatten() for n, g in like.items()]
        )

    g, rows = flat(gradient), torch.stack([flat(one) for one in references])
    products = rows @ g
    weights = multipliers((rows @ rows.T).double(), products.double(), gamma).to(g.dtype)
    turned = torch.where((products < 0).any(), g + weights @ rows, g)
    parts = zip(like, turned.split([g.numel() for g in like.values()]), strict=True)
    return {name: part.view_as(like[name]) for name, part in parts}


def multipliers(gram: Tensor, products: Tensor, least: float) -> Tensor:
    """argmin over v ≥ `least` of ½ vᵀ(gram + 10⁻³ I)v + productsᵀv; `gram` (K, K) positive semi-definite, `products` (K,).

    By a primal-dual interior-point method with a fixed number of iterations, so that it branches on no value.
    """
    gram = gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    slope = products + least * gram.sum(1)  # of u = v − least ≥ 0
    scale = gram.diagonal().mean()
    gram, slope = gram / scale, slope / scale
    start = 1 + slope.abs().max()
    u, s = start.expand(len(slope)), start.expand(len(slope))  # s: the slope at u, which is 0 where u > 0
    for _ in range(_ITERATIONS):
        target = 0.1 * (u @ s) / len(u)
        right = target / u - gram @ u - slope
        du = torch.linalg.solve(gram + torch.diag(s / u), right)
        ds = target / u - s - s / u * du
        u, s = u + _within(u, du) * du, s + _within(s, ds) * ds
    return u + least


def _within(value: Tensor, change: Tensor) -> Tensor:
    """The share, at most 1, of `change` that leaves `value` above 0."""
    limits = torch.where(change < 0, -0.99 * value / change, 1.0)
    return limits.amin().clamp_max(1)
