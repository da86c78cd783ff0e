"""Hierarchical Correlations Replay: remembered samples keep their logits, and their relations to one another."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import (
    MemoryOptions,
    Replay,
    ReplayState,
    Several,
    forward,
    rehearse_each,
)

MARGIN = 0.2
"""Semi-hard triplets: the negative lies farther from the anchor than the positive does, by at most this much."""
TEMPERATURE = 4.0
"""Divides distance gaps in DIST."""
DIST_SCALE = 1000.0
"""Factor of DIST, from the released code."""
KERNEL = tuple(math.exp(-4) * 4**p / math.factorial(p) for p in range(4))
"""Coefficients of a Gaussian kernel (width 2) on the unit sphere: its Taylor polynomial of order 3 in the cosine."""


@dataclass(frozen=True)
class Draws:
    """The draws of ICR, ER, RANK and DIST; None for a term that is not drawn for, such as one whose weight is 0."""

    drawn: Several | list[Replay]
    wanted: tuple[bool, ...]
    """Which of the terms have one."""

    def __iter__(self) -> Iterator[Replay | None]:
        drawn = iter(self.drawn)
        return iter([next(drawn, None) if wanted else None for wanted in self.wanted])


@dataclass(frozen=True, kw_only=True)
class HCR(ReplayMethod):
    """L = CE(f(x), y) + alpha·ICR + beta·ER + rank·RANK + gamma·DIST, each term on a draw of its own.

    With o = f(aug(x')) of the draw, z' the logits remembered with x', and distances between unit-normalised logits:

    - ICR = KERN(o, z') + NEIGH(o, z'), instance-level correlations.
    - ER = CE(o, y').
    - RANK and DIST, class-level correlations (CCR), over semi-hard triplets (anchor, positive, negative): the
      positive should be nearer than the negative, and by as much as it was when the samples were remembered.

    Formulas: `kern`, `neigh`, `rank`, `dist`. They are those of the code released with Wang et al. 2022 (its text was
    not compared), where the weight here called `rank` has the name `sigmoid`. Samples are stored un-augmented, with
    the logits of the training forward before the step's update.

    Differences from the released code: (1) its DIST is converted to a Python number and so moves nothing; here it
    has its gradient, and `released_ccr` brings theirs back. Their weight of it, chosen without effect, is too strong
    for a term that has one, so the default is another. (2) No triplet, or a draw of one sample, makes a term 0, where
    theirs makes the loss NaN. (3) A term whose weight is 0 is neither drawn nor computed. (4) Networks without batch
    statistics take batch and draws in one forward, which gives the same loss. (5) The last, partial batch of an epoch
    is trained on. (6) On weights that depend on the task, each remembered sample passes its own task's network, draws
    come sorted by task (NEIGH pairs neighbours in that order), and where tasks have outputs of their own, logits are
    compared by global class, 0 for the classes that a task does not have. (7) The classifier's missing bias is a
    matter of the network.
    """

    fills_at_task_end: ClassVar[bool] = True
    keeps_logits: ClassVar[bool] = True

    alpha: NotNegative = 0.01
    """Weight of ICR, ≥ 0. Released: 0.01 (0.5 with 5120 samples), split CIFAR-10."""
    beta: NotNegative = 0.9
    """Weight of ER, ≥ 0. Released: 0.9 with 200 samples, 0.3 with more."""
    gamma: NotNegative = 0.01
    """Weight of DIST, ≥ 0. Released: 0.5 everywhere, but without effect; with a gradient that hinders learning."""
    rank: NotNegative = 0.01
    """Weight of RANK, ≥ 0, the released `sigmoid`. Released: 0.01 (0.5 with 5120 samples)."""
    released_ccr: bool = False
    """DIST as released: 500 · sum over triplets in place of 1000 · mean, without a gradient: only the loss shows it."""
    joint_forward: bool | None = None
    """Whether batch and draws pass the network together, which batch norm notices. none = unless it has batch norm."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir, `batch_size` as large as the stream's."""

    def draw(self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator) -> Draws:
        wanted = tuple(weight > 0 for weight in (self.alpha, self.beta, self.rank, self.gamma))
        return Draws(rehearse_each(state.memory, learner, self.memory, rng, sum(wanted)), wanted)

    def loss(
        self, net: Net, state: ReplayState, batch: Batch, draw: Iterable[Replay | None]
    ) -> tuple[Tensor, Aux]:
        icr, er, ranked, distributed = draws = tuple(draw)
        replays = [replay for replay in draws if replay is not None]
        logits, found = forward(net, batch.x, batch.task, replays, self.joint_forward)
        outputs = iter(found)
        value = F.cross_entropy(logits, batch.target)
        terms = {"cross_entropy": value}
        if icr is not None:
            student, teacher = comparable(net, next(outputs), icr)
            terms["icr"] = self.alpha * (kern(student, teacher) + neigh(student, teacher))
        if er is not None:
            terms["er"] = self.beta * F.cross_entropy(next(outputs), er.target)
        if ranked is not None and distributed is not None and not self.released_ccr:
            first, _ = comparable(net, next(outputs), ranked)
            second, teacher = comparable(net, next(outputs), distributed)
            by_rank, by_dist = rank_and_dist(first, second, teacher, ranked.y, distributed.y)
            terms["rank"], terms["dist"] = self.rank * by_rank, self.gamma * by_dist
        elif ranked is not None:
            student, _ = comparable(net, next(outputs), ranked)
            terms["rank"] = self.rank * rank(student, ranked.y)
        if distributed is not None and "dist" not in terms:
            student, teacher = comparable(net, next(outputs), distributed)
            measure = released_dist if self.released_ccr else dist
            terms["dist"] = self.gamma * measure(student, teacher, distributed.y)
        total = torch.stack(list(terms.values())).sum()
        return total, Aux({name: term.detach() for name, term in terms.items()}, logits.detach())


def comparable(net: Net, logits: Tensor, replay: Replay) -> tuple[Tensor, Tensor]:
    """(o, z'), float32 (m, classes of the stream): the draw's logits now and as remembered, by global class, 0 for the
    classes that a sample's task has no output for."""
    assert replay.logits is not None and net.model.head is not None
    if replay.classes is None:
        return logits.float(), replay.logits
    exists, columns = replay.classes >= 0, replay.classes.clamp_min(0)
    nothing = replay.logits.new_zeros(len(replay), net.model.head.num_classes)
    student = nothing.scatter_add(1, columns, torch.where(exists, logits.float(), 0))
    return student, nothing.scatter_add(1, columns, torch.where(exists, replay.logits, 0))


def kern(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over all m² pairs of (K(o) − K(z'))², K as in `kernel`; (m, outputs) twice → scalar."""
    kernels = kernel(torch.stack([student, teacher]))
    return (kernels[0] - kernels[1]).square().mean()


def kernel(v: Tensor) -> Tensor:
    """K_ij = Σ_{p=0..3} e⁻⁴ 4ᵖ/p! · cos(v_i, v_j)ᵖ; (…, m, outputs) → (…, m, m)."""
    unit = F.normalize(v, dim=-1)
    with torch.autocast(unit.device.type, enabled=False):
        cosine = unit @ unit.transpose(-1, -2)
    c0, c1, c2, c3 = KERNEL
    return c0 + cosine * (c1 + cosine * (c2 + cosine * c3))


def neigh(student: Tensor, teacher: Tensor) -> Tensor:
    """1/(m−1) · Σ_{i<m} Σ_c D_ic · D_{i+1,c} with D = |o − z'|, rows in the order of the draw; 0 for a single row."""
    difference = (student - teacher).abs()
    return (difference[:-1] * difference[1:]).sum() / max(len(difference) - 1, 1)


def rank(student: Tensor, y: Tensor) -> Tensor:
    """Mean over semi-hard triplets of log(1 + exp(d(a, p) − d(a, n))), 0 without any; (m, outputs), (m,) → scalar."""
    d = distances(student)
    gap = triplet_gaps(d.detach(), y)
    chosen = semi_hard(gap, MARGIN)
    total = sum_over_triplets(d, softplus(-gap) * chosen, -torch.sigmoid(-gap) * chosen)
    return total / chosen.sum().clamp_min(1)


def dist(student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    """1000 · mean over the student's semi-hard triplets of KL(q ‖ s), 0 without any.

    s = σ((d(a, n) − d(a, p))/4) of the student, q the same of the teacher.
    """
    divergences, chosen = _divergences(student, teacher, y)
    return DIST_SCALE * divergences / chosen.clamp_min(1)


def rank_and_dist(
    first: Tensor, second: Tensor, teacher: Tensor, y: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """(`rank(first, y)`, `dist(second, teacher, z)`) of draws of one size, by one pass over all their triplets: these tensors
    are so small that each operation on them costs its call."""
    d = distances(torch.stack([first, second, teacher])) / TEMPERATURE
    rank_gap, s, q = gaps = triplet_gaps(d.detach(), torch.stack([y, z, z]))
    chosen = semi_hard(gaps[:2], MARGIN / TEMPERATURE)
    signed = torch.stack([-TEMPERATURE * rank_gap, s, q])
    rank_values, of_s, of_q = softplus(signed)
    rank_slopes, s_slopes, heads = torch.sigmoid(signed)
    values = torch.stack([rank_values, of_s - of_q - heads * (s - q)])
    slopes = torch.stack([-TEMPERATURE * rank_slopes, s_slopes - heads])
    totals = sum_over_triplets(d[:2], values * chosen, slopes * chosen) / chosen.sum((1, 2, 3)).clamp_min(1)
    return totals[0], DIST_SCALE * totals[1]


def released_dist(student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    """What the released code adds to its loss in place of `dist`: 500 · Σ KL, a constant."""
    divergences, _ = _divergences(student.detach(), teacher, y)
    return DIST_SCALE / 2 * divergences


def _divergences(student: Tensor, teacher: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of KL(q ‖ s) over the student's semi-hard triplets, their number)."""
    d = distances(student) / TEMPERATURE
    s = triplet_gaps(d.detach(), y)
    q = triplet_gaps(distances(teacher) / TEMPERATURE, y)
    chosen = semi_hard(s, MARGIN / TEMPERATURE)
    # KL of two coins in terms of their logits s and q; exactly 0 where these are equal, as is its slope in s
    heads = torch.sigmoid(q)
    divergence = softplus(s) - softplus(q) - heads * (s - q)
    return sum_over_triplets(d, divergence * chosen, (torch.sigmoid(s) - heads) * chosen), chosen.sum()


def sum_over_triplets(d: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """Σ values[…, a, p, n] as a function of the distances d (…, m, m), `slopes` being the values' derivatives in the gap
    d(a, n) − d(a, p); both (…, m, m, m), without a graph.

    Value and gradient are exact, and no (m, m, m) tensor is kept for the backward pass, which would take most of its
    time. Second derivatives, which only a second-order look-ahead asks for, take the values as linear in d.
    """
    pull = slopes.sum(-2) - slopes.sum(-1)
    return values.sum((-3, -2, -1)) + (pull * (d - d.detach())).sum((-2, -1))


def distances(v: Tensor) -> Tensor:
    """(…, m, m) Euclidean distances between the unit-normalised rows of v (…, m, outputs); 0..2."""
    unit = F.normalize(v, dim=-1)
    return torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")


def triplet_gaps(d: Tensor, y: Tensor) -> Tensor:
    """(…, m, m, m) from distances d (…, m, m), at most 2, and labels (…, m): [a, p, n] = d(a, n) − d(a, p), how much farther
    n is.

    Only where a ≠ p and y_a = y_p ≠ y_n; elsewhere a number in −4..−2 or 4..8, which no margin lets in.
    """
    same = y[..., :, None] == y[..., None, :]
    itself = torch.eye(y.shape[-1], dtype=torch.bool, device=y.device)
    positive = torch.where(same & ~itself, d, 4.0)
    negative = torch.where(same, 8.0, d)
    return negative[..., :, None, :] - positive[..., :, :, None]


def semi_hard(gap: Tensor, margin: float) -> Tensor:
    """1 for the triplets that count, 0 < gap ≤ margin, else 0; as float, which takes half the time of bool on a CPU."""
    return torch.sign(gap).relu() - torch.sign(gap - margin).relu()


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) for |x| ≤ 32, in half the time of torch's, which covers every x."""
    return torch.log1p(torch.exp(x))
