"""MER, meta-experience replay: steps that agree with one another (Riemer et al. 2019, arXiv:1810.11910)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Count, NotNegative
from hypermnesia.core.tensors import Tensors, add, scale
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay, ReplayState
from hypermnesia.methods.stages import Lookahead


@dataclass(frozen=True, kw_only=True)
class MER(ReplayMethod):
    """Reptile on batches that hold the past and the present (Riemer et al. 2019, arXiv:1810.11910, algorithm 1).

    θ_0 = θ; for each of `batches` draws: θ_{i+1} = θ_i + beta (θ_i after SGD on draw and batch − θ_i); then
    θ ← θ + gamma (θ_s − θ). SGD is one step on all samples at once, or one for each sample (`one_by_one`). Both
    interpolations are sums of the inner gradients, so the method is the gradient beta · gamma · Σ g, each g at its own
    parameters, of which the optimizer makes its step: with SGD that of the algorithm.

    Differences: (1) the paper steps sample by sample, the batch (one sample there) last; DER's authors, whose figures the
    recipes hold, take all at once, which is the default. (2) Inner steps are plain SGD of the optimizer's rate. (3) On
    weights that depend on the task, each remembered sample passes its own task's network.
    """

    beta: NotNegative = 1.0
    """Share of each inner walk that is kept, ≥ 0. Published: 1 (DER's authors), 0.01 to 1 (paper)."""
    gamma: NotNegative = 1.0
    """Share of the whole walk that is kept, ≥ 0. Published: 1 (DER's authors), 0.01 to 1 (paper)."""
    batches: Count = 1
    """Draws that are walked through in a step, ≥ 1: s of the paper. Published: 1 (DER's authors)."""
    one_by_one: bool = False
    """One inner step for each sample in place of one for all; as slow as it sounds."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory. Published: 128 samples rehearsed with one of the stream (train.batch_size=1)."""

    def draw(
        self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> tuple[Replay, ...]:
        return tuple(rehearsal.rehearse_each(state.memory, learner, self.memory, rng, self.batches))

    def loss(
        self, net: Net, state: ReplayState, batch: Batch, draw: tuple[Replay, ...]
    ) -> tuple[Tensor, Aux]:
        """Of the first inner step."""
        return super().loss(net, state, batch, draw[0] if draw else None)

    def gradients(
        self, net: Net, state: ReplayState, batch: Batch, draw: tuple[Replay, ...], candidate: Lookahead
    ) -> tuple[Tensors, Tensor, Aux]:
        value, aux = self.loss(net, state, batch, draw)
        total: Tensors = {}
        for replay in draw or (None,) * self.batches:
            start = walker = self._moved(net, total, self.beta, candidate)
            walked: Tensors = {}
            for x, target, task in self._pieces(batch, replay):
                if task is None:
                    loss = super().loss(walker, state, batch, replay)[0]
                else:
                    loss = F.cross_entropy(walker(x, task), target)
                walked = add(walked, walker.gradients(loss))
                walker = self._moved(start, walked, 1.0, candidate)
            total = add(total, walked)
        return scale(total, self.beta * self.gamma), value.detach(), aux

    def _pieces(self, batch: Batch, replay: Replay | None) -> list[tuple[Tensor, Tensor, int | None]]:
        """(input, target, task) of each inner step; task None: of batch and draw together."""
        if not self.one_by_one:
            return [(batch.x, batch.target, None)]
        blocks = () if replay is None else replay.blocks
        remembered = [
            (replay.x[b.start : b.stop], replay.target[b.start : b.stop], b.task) for b in blocks if replay
        ]
        return [
            (x, y, task)
            for xs, ys, task in [*remembered, (batch.x, batch.target, batch.task)]
            for x, y in zip(xs.split(1), ys.split(1), strict=True)
        ]

    @staticmethod
    def _moved(net: Net, gradients: Tensors, share: float, candidate: Lookahead) -> Net:
        """The network after `share` of a plain step along the gradients."""
        if not gradients:
            return net
        change = candidate(gradients, plain=True)
        return net.at({name: net.params[name] + share * value.detach() for name, value in change.items()})
