"""Inference by agreement: the task whose network says the same, and firmly, of an input's neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hypermnesia.core.declared import Checked, Natural, NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import TaskScores, all_logits, check, chosen
from hypermnesia.methods.learner import Learner


@dataclass(frozen=True, kw_only=True)
class Agreement(Checked, section="agreement"):
    """argmin_j H(p̄_j), with p̄_j the mean of softmax f(v; w_j) over views v = x, x + ε_k, x − ε_k. Our own.

    H(p̄) = mean_v H(p_v) + the views' Jensen–Shannon divergence, so a network is preferred that is certain of
    every view and for which all of them are the same. The noise ε_k is Gaussian, fixed, and equal for all
    samples, so a guess depends on its own sample only; in pairs of both signs it moves no input on average.
    The guessed task answers for x itself.
    """

    pairs: Natural = 4
    """Pairs of noisy views, ≥ 0; each costs two forward passes per task. 0 is inference by entropy."""
    noise: NotNegative = 0.3
    """Standard deviation of the noise, in units of the network's (normalised) input, ≥ 0."""

    def init(self, learner: Learner) -> None:
        check("agreement", learner)
        if learner.dtype == torch.int64:
            raise HypermnesiaError(
                "infer=agreement looks at noisy views of images or vectors, and these samples are texts: take "
                "infer=entropy, prototype or fecam"
            )

    def end_task(self, state: None, learner: Learner, task: Task) -> None:
        return None

    def scores(self, state: None, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        own = all_logits(learner, overlays, x)
        total = [of_task.float().softmax(1) for of_task in own]
        for drawn in _drawn(self.pairs, tuple(x.shape[1:])):
            noise = self.noise * drawn.to(x)
            for view in (x + noise, x - noise):
                seen = all_logits(learner, overlays, view)
                total = [t + of_task.float().softmax(1) for t, of_task in zip(total, seen, strict=True)]
        uncertainty = [torch.special.entr(t / (1 + 2 * self.pairs)).sum(1) for t in total]
        return chosen(torch.stack(uncertainty).argmin(0), own)


@lru_cache(maxsize=4)
def _drawn(pairs: int, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The noise of all pairs, of standard deviation 1: kept, so that an exported program holds it rather than draws."""
    rng = generator(0, "agreement")
    return tuple(torch.randn(shape, generator=rng) for _ in range(pairs))
