"""Methods as DER's authors' code has them, faults included, to show what a difference from their table comes from.

    hypermnesia run split-mnist python:benchmarks.differences:UnrehearsedICaRL method.merged=true memory.size=500 \\
        net.init=xavier optimizer.name=sgd optimizer.lr=0.1 train.batch_size=10 \\
        --seeds 0..9 --stack auto
    hypermnesia run split-mnist python:benchmarks.differences:BlackICaRL method.merged=true memory.size=500 \\
        net.init=xavier optimizer.name=sgd optimizer.lr=0.1 train.batch_size=10 --seeds 0..4 --stack auto
    hypermnesia run split-mnist python:benchmarks.differences:WarmLwF net.init=xavier optimizer.name=sgd \\
        optimizer.lr=0.03 optimizer.weight_decay=0.001 train.batch_size=10 --seeds 0..4
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.base import Lookahead
from hypermnesia.methods.icarl import ICaRL
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.methods.lwf import LwF
from hypermnesia.methods.replay.rehearsal import Remembered


@dataclass(frozen=True, kw_only=True)
class BlackICaRL(ICaRL):
    """iCaRL whose exemplars are all but black in training: fractions 0..1 cut to whole numbers, as that code did to MNIST.

    Herding, class means and old answers are as they were.
    """

    def phases(self, learner: Learner) -> Sequence[Phase]:
        def black(state: Any, learner: Learner) -> Remembered:
            return Remembered(replace(state.memory, x=(state.memory.x == 255).to(torch.uint8)))

        return [replace(phase, beside=phase.beside and black) for phase in super().phases(learner)]


@dataclass(frozen=True, kw_only=True)
class UnrehearsedICaRL(ICaRL):
    """iCaRL whose exemplars make the class means and are never trained on: that code's loop did not call `begin_task`.

    Herding, class means and old answers are as they were.
    """

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return (Phase(),)


@dataclass(frozen=True, kw_only=True)
class WarmLwF(LwF):
    """LwF that trains the new outputs alone before a task, and sees no outputs of classes to come."""

    warm: bool = True
    """Whether the new outputs are trained first, for a pass over the task."""
    masked: bool = True
    """Whether the cross-entropy runs over the classes seen so far."""

    def phases(self, learner: Learner) -> Sequence[Phase]:
        rate = OptimizerOptions(name="sgd", lr=0.03)
        warm = (Phase("warm", epochs=1, optimizer=rate),) if self.warm and learner.task else ()
        return (*warm, Phase())

    def draw(self, state: Any, learner: Learner, batch: Batch, rng: torch.Generator) -> Any:
        classes = learner.classes
        new = set(classes[learner.task])
        seen = {c for of_task in classes[: learner.task + 1] for c in of_task}
        warm = learner.phase.name == "warm"
        kept = new if warm else seen if self.masked else range(learner.num_classes)
        hidden = torch.ones(learner.num_classes, dtype=torch.bool)
        hidden[list(kept)] = False
        return warm, hidden, None if warm else super().draw(state, learner, batch, rng)

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        _, hidden, old = draw
        value, aux = super().loss(net, state, batch, old)
        logits = net(batch.x, batch.task)
        own = F.cross_entropy(logits, batch.target)
        return value - own + F.cross_entropy(logits.masked_fill(hidden, -torch.inf), batch.target), aux

    def gradients(
        self, net: Net, state: Any, batch: Batch, draw: Any, candidate: Lookahead
    ) -> tuple[Tensors, Tensor, Aux]:
        gradients, value, aux = super().gradients(net, state, batch, draw, candidate)
        if draw[0]:
            last = list(gradients)[-1].rpartition(".")[0]
            gradients = {n: g if n.startswith(last) else torch.zeros_like(g) for n, g in gradients.items()}
        return gradients, value, aux
