"""Classifiers in closed form on frozen features: sums over samples, and one solution of a linear system.

The sums are exact (see `core.exact`), so the classifier after any sequence of tasks is that of joint fitting to the last
bit, whatever the order of tasks and samples, and a class that is taken out again has never been there. The system is
solved with one thread, on sums that are equal, so the solutions are equal as well.

Features are the input of the target's last linear layer: with `stream.features=pretrained` and a network without hidden
layers, what the frozen backbone made of each image, once.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from hypermnesia.core import exact, novelty
from hypermnesia.core.covariance import normalised, shrunk
from hypermnesia.core.declared import Count, Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.exact import Moments
from hypermnesia.core.rng import generator
from hypermnesia.data import Task
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.nets.stages import classifier, section, stages
from hypermnesia.weights.model import Model, evaluating

CHUNK = 1000
"""Samples per forward pass."""
WEIGHT_SCALE, WEIGHT_MOST = 32, 255
"""Random projections are drawn from a normal distribution and rounded to 1/32, so that they are exact integers."""


@dataclass(frozen=True)
class ClosedFormState:
    """What was summed up, and the classifier that follows from it."""

    moments: Moments | None = None
    """None before the first task's end: the features' width is not known."""
    weight: Tensor | None = None
    """(d, C) float64; zero for classes without samples. (d, C) class means for `ncm`."""
    bias: Tensor | None = None
    """(C,) float64, −∞ for classes without samples."""
    projection: Tensor | None = None
    """(d, M) int16, where features are projected."""
    precisions: Tensor | None = None
    """(C, d, d) float32 for `fecam`: of each class."""
    spread: Tensor | None = None
    """(C, bins) int64: how near each class's samples were to its mean at their task's end, where `novel` asks for it."""


@dataclass(frozen=True, kw_only=True)
class ClosedForm(Method):
    """What the classifiers of this file share. A task's samples are shown once, at its end; nothing is trained but what
    `adapt` asks for."""

    answers_ahead: ClassVar[bool] = False
    by_class: ClassVar[bool] = False
    """Whether it needs second moments of each class."""
    least: ClassVar[int] = 0
    """Of a projected feature: 0 is a rectifier."""
    scale: Annotated[int, Ge(0), Lt(exact.BITS)] = 12
    """Features are rounded to multiples of 2^−scale and cut at ±2^(20 − scale); 0..19."""
    adapt: bool = False
    """Whether the network before the classifier trains on the first task, with a linear layer and cross-entropy as long as the
    run says, and then rests (RanPAC's first phase). What that task taught the network cannot be taken out again."""
    novel: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the learned classes' own samples that may be taken for none of them: `predict` says "none of these" where a
    sample lies farther from every class mean than all but so many of the class's own. 0 = it never does."""

    @property
    def needs_boundaries(self) -> bool:
        return self.adapt  # sums do not mind where a task ends

    def init(self, learner: Learner) -> ClosedFormState:
        if learner.model.depends_on_task:
            raise HypermnesiaError(
                f"{type(self).__name__.lower()} fits one classifier on features that all tasks share, and these weights "
                "differ from task to task: leave weights out"
            )
        roles, last = learner.model.roles, f"{classifier(learner.model.target)}."
        trains = {role for name, role in roles.items() if not name.startswith(last)} - {"frozen"}
        if self.adapt and not trains:
            raise HypermnesiaError(
                "method.adapt=true trains what comes before the classifier, and here nothing does: take net=bottleneck for "
                "features, or net=pretrained weights=lora weights.written=shared for images"
            )
        return ClosedFormState()

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return (Phase(),) if self.adapt and learner.task == 0 else ()

    def loss(self, net: Net, state: ClosedFormState, batch: Batch, draw: None) -> tuple[Tensor, Aux]:
        value = F.cross_entropy(net(batch.x, batch.task), batch.target)
        return value, Aux({"cross_entropy": value.detach()})

    @torch.no_grad()
    def end_task(
        self, state: ClosedFormState, learner: Learner, task: Task, rng: torch.Generator
    ) -> ClosedFormState:
        for x, y in samples(learner, task):
            state = self.shown(state, _features(learner, x), y, learner.num_classes)
        if self.novel:
            state = self._spread(state, learner, task)
        return self.solved(state)

    def _spread(self, state: ClosedFormState, learner: Learner, task: Task) -> ClosedFormState:
        """With the distances of the task's samples to their class means, which are known now."""
        assert state.moments is not None
        means = self._sums(state.moments)
        spread = torch.zeros(means.shape[1], novelty.BINS + 1, dtype=torch.int64)
        if state.spread is not None:
            spread[: len(state.spread)] = state.spread
        for x, y in samples(learner, task):
            h = self._integers(state, _features(learner, x)).cpu()
            spread = novelty.counted(spread, h, y.cpu(), means)
        return replace(state, spread=spread)

    def strange(self, state: ClosedFormState, learner: Learner, x: Tensor) -> Tensor | None:
        if state.spread is None or state.moments is None:
            return None
        h = self._integers(state, _features(learner, x)).cpu()
        return novelty.strange(state.spread, h, self._sums(state.moments), self.novel)

    @torch.no_grad()
    def forget(self, state: ClosedFormState, learner: Learner, x: Tensor, y: Tensor) -> ClosedFormState:
        """As if the samples x (N, …), normalised, of classes y (N,) had never been shown.

        Raises `HypermnesiaError` where a class would lose more samples than it had, and for what the network adapted to.
        """
        if self.adapt and not set(y.tolist()).isdisjoint(learner.classes[0]):
            raise HypermnesiaError(
                "the network adapted to the first task (method.adapt=true), whose classes it cannot be rid of; those of "
                "later tasks can be taken out"
            )
        state = self.shown(state, _features(learner, x), y, learner.num_classes, sign=-1)
        if state.spread is not None and state.moments is not None:  # what was taken out is near nothing
            state = replace(state, spread=state.spread * state.moments.seen[: len(state.spread), None])
        return self.solved(state)

    def solved(self, state: ClosedFormState) -> ClosedFormState:
        """The state with the classifier of its moments."""
        assert state.moments is not None
        with _one_thread():
            weight, bias = self.classifier(state.moments)
        return replace(state, weight=weight, bias=bias.masked_fill(~state.moments.seen, -torch.inf))

    def classifier(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """(d, C) weights and (C,) biases in float64, of the moments alone."""
        raise NotImplementedError

    def scores(self, state: ClosedFormState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """(B, C) scores; −∞ for classes without samples. None before the first task's end."""
        return None if state.weight is None else self.scored(state, _features(learner, x))

    def scored(self, state: ClosedFormState, features: Tensor) -> Tensor:
        """(B, C) scores of features (B, d) by a classifier that is solved."""
        assert state.weight is not None and state.bias is not None
        h = self._integers(state, features) * 2.0**-self.scale
        return self.answers(h, state.weight.to(h.device), state.bias.to(h.device), state).float()

    def answers(self, h: Tensor, weight: Tensor, bias: Tensor, state: ClosedFormState) -> Tensor:
        """Scores (B, C) of features h (B, d)."""
        return h @ weight + bias

    def network(self, state: ClosedFormState, learner: Learner) -> nn.Module | None:
        return None if state.weight is None else Closed(self, state, learner.model)

    def transformed(self, features: Tensor) -> Tensor:
        """Features (N, d) before they are rounded. Default: as they are."""
        return features

    def projection(self, width: int) -> Tensor | None:
        """(d, M) whole numbers, or None where features are taken as they are."""
        return None

    def shown(
        self, state: ClosedFormState, features: Tensor, y: Tensor, classes: int, sign: int = 1
    ) -> ClosedFormState:
        """With the features (N, d) of classes y (N,), of `classes` classes so far, summed up, or taken out; not solved."""
        if state.moments is None:
            projection = self.projection(features.shape[1])
            width = features.shape[1] if projection is None else projection.shape[1]
            state = replace(state, moments=exact.empty(classes, width, self.by_class), projection=projection)
        assert state.moments is not None
        moments = exact.grown(state.moments, classes)
        q = self._integers(state, features)
        return replace(state, moments=exact.add(moments, q.cpu(), y.cpu(), sign))

    def _integers(self, state: ClosedFormState, features: Tensor) -> Tensor:
        q = exact.quantised(self.transformed(features), self.scale)
        if state.projection is None:
            return q
        width = len(state.projection)
        shift = max(0, round(torch.log2(torch.tensor(WEIGHT_SCALE * width**0.5)).item()) - 4)
        return exact.projected(q, state.projection.to(q), shift, self.least)

    def _gram(self, moments: Moments) -> Tensor:
        return moments.gram.double() * 2.0 ** (-2 * self.scale)

    def _sums(self, moments: Moments) -> Tensor:
        """(d, C)"""
        return moments.sums.double().T * 2.0**-self.scale


class Closed(nn.Module):
    """A solved classifier on what a copy of a network makes of its input before its last layer."""

    def __init__(self, method: ClosedForm, state: ClosedFormState, model: Model) -> None:
        super().__init__()
        body = section(model.target, last=stages(model.target)[-2])
        self.method, self.body = method, copy.deepcopy(body).requires_grad_(False)
        added = model.overlay(0)
        self.body.load_state_dict({n: added[n] for n in self.body.state_dict() if n in added}, strict=False)
        names = ("weight", "bias", "projection", "precisions")
        self.kept = [name for name in names if getattr(state, name) is not None]
        for name in self.kept:
            self.register_buffer(name, getattr(state, name).clone(memory_format=torch.contiguous_format))

    def forward(self, x: Tensor) -> Tensor:
        state = ClosedFormState(**{name: getattr(self, name) for name in self.kept})
        return self.method.scored(state, self.body(x).flatten(1))


@dataclass(frozen=True, kw_only=True)
class NCM(ClosedForm):
    """Nearest class mean; with cosine similarity, SimpleCIL's prototypes (Zhou et al. 2023, arXiv:2303.07338)."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """Similarity of a feature and a class mean."""

    def classifier(self, moments: Moments) -> tuple[Tensor, Tensor]:
        means = self._sums(moments) / moments.counts.clamp_min(1)
        if self.metric == "cosine":
            return F.normalize(means, dim=0), means.new_zeros(means.shape[1])
        return means, -means.square().sum(0) / 2

    def answers(self, h: Tensor, weight: Tensor, bias: Tensor, state: ClosedFormState) -> Tensor:
        return super().answers(F.normalize(h, dim=1) if self.metric == "cosine" else h, weight, bias, state)


@dataclass(frozen=True, kw_only=True)
class SLDA(ClosedForm):
    """Streaming linear discriminant analysis: class means and one covariance (Hayes & Kanan 2020, arXiv:1909.01520).

    Difference: the covariance is that of all samples seen around their class means, as batch LDA has it; the paper
    updates it sample by sample around running means.
    """

    shrinkage: Annotated[float, Gt(0), Le(1)] = 1e-4
    """ε in (0, 1]: Λ = ((1 − ε) Σ + ε I)⁻¹."""

    def classifier(self, moments: Moments) -> tuple[Tensor, Tensor]:
        sums, counts = self._sums(moments), moments.counts.clamp_min(1)
        means = sums / counts
        scatter = self._gram(moments) - sums @ means.T
        covariance = scatter / max(int(moments.counts.sum()) - int(moments.seen.sum()), 1)
        eye = torch.eye(len(covariance), dtype=torch.float64)
        weight = _solve((1 - self.shrinkage) * (covariance + covariance.T) / 2 + self.shrinkage * eye, means)
        return weight, -(means * weight).sum(0) / 2


@dataclass(frozen=True, kw_only=True)
class Ridge(ClosedForm):
    """Recursive ridge regression on one-hot labels: ACIL (Zhuang et al. 2022, arXiv:2205.14922), whose recursion this is
    without rounding, since the sums that it solves are exact."""

    strength: Positive = 1e-3
    """λ > 0 as a share of the mean of the Gram matrix's diagonal, so that it fits features of any size."""

    def classifier(self, moments: Moments) -> tuple[Tensor, Tensor]:
        gram, sums = self._gram(moments), self._sums(moments)
        load = max(float(gram.diagonal().mean()) * self.strength, torch.finfo(torch.float64).tiny)
        gram.diagonal().add_(load)
        return _solve(gram, sums), sums.new_zeros(sums.shape[1])


@dataclass(frozen=True, kw_only=True)
class RanPAC(Ridge):
    """Ridge on random features relu(f W), W normal (McDonnell et al. 2023, arXiv:2307.02251); its first-task adapter is `adapt`.

    Differences: W is rounded to multiples of 1/32 and the products to 20 bits, so that the sums are exact; λ is fixed
    rather than chosen on held-out samples of the first task.
    """

    strength: Positive = 1e-4
    width: Count = 4000
    """M ≥ 1, random features."""
    seed: int = 0
    """Of W: part of the method rather than of a run, so that classifiers of different runs can be compared."""

    def projection(self, width: int) -> Tensor:
        return _random(width, self.width, self.seed, "ranpac")


@dataclass(frozen=True, kw_only=True)
class FeCAM(ClosedForm):
    """Nearest class mean by each class's own Mahalanobis distance (Goswami et al. 2023, arXiv:2309.14062).

    score_c = −(f − μ_c)ᵀ S_c⁻¹ (f − μ_c), f and μ_c L2-normalised, S_c the class's covariance, shrunk and brought to
    correlations. Difference: features of more than `width` numbers are brought to that many by a random linear map first,
    for S_c takes width² numbers of each class.
    """

    by_class: ClassVar[bool] = True
    least: ClassVar[int] = -exact.MOST

    tukey: Positive | None = 0.5
    """Power to which features are raised, keeping their sign, > 0; none = as they are."""
    shrink: Count = 1
    """How often S_c is shrunk: S + mean(diagonal) I + mean(off-diagonal entries that are not 0) (1 − I); at least 1."""
    width: Count | None = 512
    """Numbers of a feature at most; none = all there are."""
    seed: int = 0
    """Of the random map: part of the method rather than of a run."""

    def transformed(self, features: Tensor) -> Tensor:
        return features if self.tukey is None else features.sign() * features.abs() ** self.tukey

    def projection(self, width: int) -> Tensor | None:
        return _random(width, self.width, self.seed, "fecam") if self.width and width > self.width else None

    def solved(self, state: ClosedFormState) -> ClosedFormState:
        assert state.moments is not None
        gram, counts = state.moments.gram, state.moments.counts
        found = torch.zeros(gram.shape, dtype=torch.float32)
        with _one_thread():
            for c in state.moments.seen.nonzero().flatten().tolist():
                total = self._sums(state.moments)[:, c]
                scatter = gram[c].double() * 2.0 ** (-2 * self.scale) - torch.outer(total, total) / counts[c]
                s = normalised(shrunk(scatter / max(int(counts[c]) - 1, 1), self.shrink))
                factor, failed = torch.linalg.cholesky_ex(s)
                found[c] = torch.linalg.pinv(s, hermitian=True) if failed else torch.cholesky_inverse(factor)
        return replace(super().solved(state), precisions=found)

    def classifier(self, moments: Moments) -> tuple[Tensor, Tensor]:
        means = self._sums(moments) / moments.counts.clamp_min(1)
        return F.normalize(means, dim=0), means.new_zeros(means.shape[1])

    def answers(self, h: Tensor, weight: Tensor, bias: Tensor, state: ClosedFormState) -> Tensor:
        assert state.precisions is not None
        h, means = F.normalize(h, dim=1).float(), weight.float()
        distances = h.new_zeros(h.shape[0], bias.shape[0])
        everyone = torch.compiler.is_exporting()  # a program cannot look at numbers to decide what it does
        for c in range(len(bias)) if everyone else bias.isfinite().nonzero().flatten().tolist():
            apart = h - means[:, c]
            distances[:, c] = ((apart @ state.precisions[c].to(h.device)) * apart).sum(1)
        return bias - distances


def _random(width: int, to: int, seed: int, name: str) -> Tensor:
    """(width, to) int16: normal numbers as whole multiples of 1 / `WEIGHT_SCALE`."""
    if width > exact.ROWS:
        raise HypermnesiaError(f"features of more than {exact.ROWS} numbers cannot be projected exactly")
    drawn = torch.randn(width, to, generator=generator(seed, name), dtype=torch.float64)
    return (drawn * WEIGHT_SCALE).round().clamp(-WEIGHT_MOST, WEIGHT_MOST).to(torch.int16)


def samples(learner: Learner, task: Task) -> Iterator[tuple[Tensor, Tensor]]:
    """The training samples of a task as the network sees them, not augmented, and their classes."""
    for positions in torch.arange(len(task.train)).split(CHUNK):
        raw, y = task.train.batch(positions)
        yield learner.preprocess(raw, None), y


@torch.no_grad()
def _features(learner: Learner, x: Tensor) -> Tensor:
    with evaluating(learner.model):
        return Net(learner.model).features(x, max(learner.task, 0))[0].flatten(1)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix⁻¹ right for a symmetric positive definite matrix."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed):
        raise HypermnesiaError(
            "the features' Gram matrix cannot be inverted: give a larger method.strength or method.shrinkage"
        )
    return torch.cholesky_solve(right, factor)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within it linear algebra takes one thread, so that it rounds alike wherever it runs on this kind of processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
