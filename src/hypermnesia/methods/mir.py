"""MIR, maximally interfered retrieval: rehearse what the coming step would harm most (Aljundi et al. 2019,
arXiv:1908.04742).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import Block, MemoryOptions, Replay, ReplayState
from hypermnesia.methods.stages import Lookahead
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True, kw_only=True)
class MIR(ReplayMethod):
    """Experience replay of those candidates x' whose loss a step on the batch alone would raise most (Aljundi et al. 2019,
    arXiv:1908.04742, criterion MI-1).

    θᵛ = θ − lr · ∇CE(f(x), y);  s(x') = CE(fᵛ(x'), y') − CE(f(x'), y');  the memory's batch are the candidates of largest
    s, and the step is that of `er` on them: one mean over batch and chosen samples, from θ.

    Differences: (1) s is taken in evaluation mode, so that it is each candidate's own. (2) On weights that depend on the
    task, each remembered sample passes its own task's network, and the best of each task of the draw are chosen in equal
    shares. (3) Penalties that hold weights have no part in θᵛ.
    """

    fills_at_task_end: ClassVar[bool] = True

    candidates: Count = 50
    """Samples drawn for a step, of which `memory.batch_size` are rehearsed; at least as many as these."""
    memory: MemoryOptions = MemoryOptions()
    """The replay memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < self.memory.batch_size:
            raise HypermnesiaError(
                f"mir.candidates={self.candidates} leaves nothing to choose for memory.batch_size="
                f"{self.memory.batch_size}: give at least as many candidates"
            )

    def draw(self, state: ReplayState, learner: Learner, batch: Batch, rng: torch.Generator) -> Replay | None:
        """All candidates."""
        most = min(self.memory.tasks_per_step, self.memory.batch_size)
        options = replace(self.memory, batch_size=self.candidates, tasks_per_step=most)
        return rehearsal.rehearse(state.memory, learner, options, rng)

    def gradients(
        self, net: Net, state: ReplayState, batch: Batch, draw: Replay | None, candidate: Lookahead
    ) -> tuple[Tensors, Tensor, Aux]:
        """Those of `loss` on the chosen candidates."""
        if draw is not None and len(draw) > self.memory.batch_size:
            alone = net.gradients(F.cross_entropy(net(batch.x, batch.task), batch.target))
            change = {name: value.detach() for name, value in candidate(alone, plain=True).items()}
            draw = chosen(draw, interference(net, change, draw), self.memory.batch_size)
        return super().gradients(net, state, batch, draw, candidate)


def interference(net: Net, change: Tensors, draw: Replay) -> Tensor:
    """(m,) by how much the change of the parameters, by name, raises each drawn sample's cross-entropy."""
    ahead = net.at({name: net.params[name] + value for name, value in change.items()})
    with torch.no_grad(), evaluating(net.model):
        now, then = (
            F.cross_entropy(rehearsal.logits(at, draw), draw.target, reduction="none") for at in (net, ahead)
        )
    return then - now


def chosen(draw: Replay, scores: Tensor, count: int) -> Replay:
    """The `count` samples of largest score; of a draw from several tasks, the best count // tasks of each. Among
    equals, as a task's samples are where no step of another task moves its weights, those drawn first."""
    share = count // len(draw.blocks)
    best, blocks = [], []
    for i, block in enumerate(draw.blocks):
        kept = min(share, block.stop - block.start)
        order = scores[block.start : block.stop].argsort(descending=True, stable=True)
        best.append(block.start + order[:kept])
        blocks.append(Block(block.task, i * kept, (i + 1) * kept))
    rows = torch.cat(best)
    x, raw, y, target, index = (
        t.index_select(0, rows.to(t.device)) for t in (draw.x, draw.raw, draw.y, draw.target, draw.index)
    )
    classes = None if draw.classes is None else draw.classes.index_select(0, rows)
    return Replay(x, raw, y, target, index, None, tuple(blocks), classes)
