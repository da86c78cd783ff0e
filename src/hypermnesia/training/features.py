"""A frozen body's features of a task's samples, made once and read in every pass."""

import torch
from torch import Tensor, nn

from hypermnesia.data import Part
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Learner, Samples
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.step import precision
from hypermnesia.weights.body import Cut, drops_out, resting
from hypermnesia.weights.model import evaluating

MOST_BYTES = 2**30
"""Features of a task that are kept at most."""
PAYS = 1.5
"""Passes over a task's samples from which on the features are kept."""
CHUNK = 256
"""Samples in one pass of the body; the same whenever a run goes on, so that its features are too."""


class Features:
    """The features of all samples of a part, and of their mirror images where preprocessing flips: (views, N, …)."""

    def __init__(self, cut: Cut, part: Part, learner: Learner) -> None:
        self._preprocess, views = learner.preprocess, [False, True] if learner.preprocess.flip else [False]
        found = []
        for mirrored in views:
            for positions in torch.arange(len(part)).split(CHUNK):
                raw = part.batch(positions)[0]
                found.append(cut.body(learner.preprocess(raw.flip(-1) if mirrored else raw, None)))
        self._size, self._table = len(part), torch.cat(found)

    def __call__(self, positions: Tensor, rng: torch.Generator) -> Tensor:
        """Features (B, …) of the samples at `positions` (B,), flipped as preprocessing would flip them."""
        flipped = self._preprocess.choices(len(positions), rng)[1]
        return self._table.index_select(0, (positions + self._size * flipped).to(self._table.device))


def kept(
    train: TrainOptions, method: Method, learner: Learner, part: Samples, seen: int
) -> tuple[Features | None, nn.Module | None]:
    """The features that a phase on `part`, which sees `seen` samples, each as often as it comes, is given in place of inputs,
    and the stages after the body; None where they are not kept.

    Never in the first task, whose first step chooses the threads that all of a run is computed with.
    """
    phase, preprocess = learner.phase, learner.preprocess
    if not train.keep_features or not method.only_passes_input or learner.task == 0:
        return None, None
    if phase.data is not None or phase.model != "main" or not isinstance(part, Part):
        return None, None
    cut, samples = resting(learner.model), len(part) * (2 if preprocess.flip else 1)
    if cut is None or drops_out(cut.body) or preprocess.crop or preprocess.repaints or seen < PAYS * samples:
        return None, None
    with precision(train, learner.device), torch.no_grad(), evaluating(learner.model):
        one = cut.body(preprocess(part.batch(torch.arange(1))[0], None))
        if samples * one.numel() * one.element_size() > MOST_BYTES:
            return None, None
        return Features(cut, part, learner), cut.tail
