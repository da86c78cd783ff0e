"""Inference by FeCAM: Mahalanobis distance to class means (Goswami et al. 2023, arXiv:2309.14062), with the
numerics of HyperMask's use of it (arXiv:2310.00113)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.covariance import normalised, shrunk
from hypermnesia.core.declared import Natural, Positive
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import by_class, check
from hypermnesia.evaluation.infer.prototype import NearestClass
from hypermnesia.methods.learner import Learner


@dataclass(frozen=True)
class ClassStatistics:
    """Of every finished task, as its network was at the task's end."""

    means: tuple[Tensor, ...]
    """One (C, d) per task: class means of the features, L2-normalised."""
    precisions: tuple[Tensor, ...]
    """One (C, d, d) per task: inverses of the classes' covariances, shrunk and normalised."""
    local: tuple[Tensor, ...]
    """One (C,) int64 per task: the classes' positions among the task's active outputs."""


@dataclass(frozen=True, kw_only=True)
class FeCAM(NearestClass, section="fecam"):
    """argmin_j min_c (z_j − μ_jc)ᵀ S_jc⁺ (z_j − μ_jc): z_j the features of x under task j's weights.

    μ_jc and S_jc are the mean and covariance of class c's training features under task j's weights, gathered
    at the task's end and never again: the old data are gone. z and μ are L2-normalised; S belongs to the
    features as they are, is shrunk, and is then scaled to correlations (its diagonal is 1). d² + d numbers
    per class.
    """

    shrink: Natural = 2
    """How often S is shrunk: S + mean(diagonal) I + mean(off-diagonal entries that are not 0) (1 − I). 2 in
    both references; 0 leaves S as it is, singular wherever a class has fewer samples than features."""
    tukey: Positive | None = None
    """Power to which features are raised, keeping their sign, > 0; none = as they are. FeCAM: 0.5; HyperMask:
    none (its option squares)."""

    def init(self, learner: Learner) -> ClassStatistics:
        check("fecam", learner)
        return ClassStatistics((), (), ())

    def end_task(self, state: ClassStatistics, learner: Learner, task: Task) -> ClassStatistics:
        groups = by_class(learner, task)
        samples = [self._raised(group.features) for group in groups]
        means = torch.stack([F.normalize(z.mean(0), dim=0) for z in samples])
        precisions = torch.stack([precision(normalised(shrunk(covariance(z), self.shrink))) for z in samples])
        local = torch.tensor([group.local for group in groups], device=means.device)
        return ClassStatistics((*state.means, means), (*state.precisions, precisions), (*state.local, local))

    def distances(self, state: ClassStatistics, task: int, z: Tensor) -> Tensor:
        return mahalanobis(F.normalize(self._raised(z)), state.means[task], state.precisions[task])

    def _raised(self, z: Tensor) -> Tensor:
        return z if self.tukey is None else z.sign() * z.abs() ** self.tukey


def covariance(z: Tensor) -> Tensor:
    """(d, d) of samples (n, d), divided by n − 1; zeros for a single sample."""
    centred = z - z.mean(0)
    return centred.T @ centred / max(len(z) - 1, 1)


def precision(correlations: Tensor) -> Tensor:
    """(d, d) pseudo-inverse, after adding 1e-8 to every entry as the references do."""
    return torch.linalg.pinv(correlations + 1e-8, hermitian=True)


def mahalanobis(z: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """(B, C) squared distances of `z` (B, d) to `means` (C, d) under `precisions` (C, d, d)."""
    apart = z - means[:, None]  # (C, B, d)
    return ((apart @ precisions) * apart).sum(2).T
