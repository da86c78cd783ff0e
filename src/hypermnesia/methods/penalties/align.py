"""SLCA's classifier alignment: the head trained once more, on features drawn around the mean of every class seen
(Zhang et al. 2023, arXiv:2303.05118)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from hypermnesia.core.declared import Count, Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.closed_form import samples
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.nets.stages import classifier
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class ClassGaussians:
    """Of the features of every class seen, as its task's network had them at the task's end."""

    classes: Tensor
    """(K,) int64 global class ids, in order of appearance."""
    means: Tensor
    """(K, d)"""
    factors: Tensor
    """(K, d, d) lower triangles L with L Lᵀ the covariance; (1, d, d) where all classes share it."""
    scatter: Tensor
    """(d, d) sum around the class means, over the `samples` seen; kept where all classes share their covariance."""
    samples: int


@dataclass(frozen=True, kw_only=True)
class Align(Penalty):
    """At each task's end but the first, `steps` steps of SGD (momentum 0.9) on the classifier alone.

    Features are drawn from N(μ_c, Σ_c) for classes c drawn evenly; the loss is the cross-entropy of logits over
    (temperature · their norm). Nothing is added to the loss of the task itself. For one head that all classes share. Class
    statistics are those of their task's end: a body that goes on training moves away from them, so give it a small learning rate.
    """

    name: ClassVar[str] = "align"

    steps: Count = 200
    """Steps at a task's end."""
    batch_size: Count = 128
    """Features drawn for a step."""
    lr: Positive = 0.01
    """Learning rate, falling to 0 along a cosine."""
    temperature: Annotated[float, Gt(0)] = 0.1
    """τ of the normalised logits; 0.1 is published."""
    covariance: Literal["class", "shared"] = "class"
    """Whether each class has its own (published; d² numbers each) or all share one."""

    def init(self, learner: Learner) -> ClassGaussians:
        head = learner.model.head
        if head is None or head.kind != "shared":
            raise HypermnesiaError("align trains one head that all classes share: take weights.head=shared")
        none = torch.zeros(0)
        return ClassGaussians(torch.zeros(0, dtype=torch.int64), none, none, none, 0)

    def value(self, net: Net, state: ClassGaussians, draw: None) -> None:
        return None

    def end_task(
        self, state: ClassGaussians, learner: Learner, task: Task, rng: torch.Generator
    ) -> ClassGaussians:
        first = len(state.classes) == 0
        state = self._with(state, *_features(learner, task))
        if not first:
            self._train(state, learner, rng)
        return state

    def _with(self, state: ClassGaussians, features: Tensor, y: Tensor) -> ClassGaussians:
        """With the statistics of the classes that a task brought; classes that were there keep theirs."""
        new = [c for c in y.unique().tolist() if c not in state.classes.tolist()]
        means, factors, scatter, seen = [], [], torch.zeros(features.shape[1], features.shape[1]), 0
        for c in new:
            own = features[y == c]
            means.append(own.mean(0))
            apart = own - means[-1]
            if self.covariance == "class":
                factors.append(_factor(apart.T @ apart / max(len(own) - 1, 1)))
            scatter, seen = scatter + apart.T @ apart, seen + len(own)
        if state.samples:
            scatter, seen = scatter + state.scatter, seen + state.samples
        kept = [state.factors] if len(state.factors) and self.covariance == "class" else []
        shared = [_factor(scatter / max(seen - 1, 1))] if self.covariance == "shared" else []
        return ClassGaussians(
            torch.cat([state.classes, torch.tensor(new, dtype=torch.int64)]),
            torch.cat([*([state.means] if len(state.means) else []), *(m[None] for m in means)]),
            torch.cat([*kept, *(f[None] for f in factors), *(f[None] for f in shared)]),
            scatter,
            seen,
        )

    def _train(self, state: ClassGaussians, learner: Learner, rng: torch.Generator) -> None:
        layer = learner.model.target.get_submodule(classifier(learner.model.target))
        own = dict(layer.named_parameters())
        moving = {name: p.detach().cpu().clone().requires_grad_() for name, p in own.items()}
        optimizer = torch.optim.SGD(moving.values(), self.lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            target = torch.randint(len(state.classes), (self.batch_size,), generator=rng)
            noise = torch.randn(self.batch_size, state.means.shape[1], generator=rng)
            shared = self.covariance == "shared"
            spread = noise @ state.factors[0].T if shared else _spread(state, target, noise)
            logits = F.linear(state.means[target] + spread, moving["weight"], moving.get("bias"))
            logits = logits[:, state.classes]
            logits = logits / (self.temperature * logits.norm(dim=1, keepdim=True).clamp_min(1e-7))
            optimizer.zero_grad()
            F.cross_entropy(logits, target).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(moving[name])


def _spread(state: ClassGaussians, target: Tensor, noise: Tensor) -> Tensor:
    """L_c z of each row's class c, class by class: gathering whole matrices would copy them."""
    found = torch.empty_like(noise)
    for c in target.unique().tolist():
        found[target == c] = noise[target == c] @ state.factors[c].T
    return found


@torch.no_grad()
def _features(learner: Learner, task: Task) -> tuple[Tensor, Tensor]:
    with evaluating(learner.model):
        net = Net(learner.model)
        seen = [(net.features(x, learner.task)[0].flatten(1), y) for x, y in samples(learner, task)]
    return torch.cat([h.float().cpu() for h, _ in seen]), torch.cat([y.cpu() for _, y in seen])


def _factor(covariance: Tensor) -> Tensor:
    """L with L Lᵀ = covariance (d, d) and a little on its diagonal, for it may be singular."""
    load = 1e-4 * covariance.diagonal().mean().clamp_min(1e-12)
    eye = torch.eye(len(covariance))
    return torch.linalg.cholesky(covariance + load * eye)
