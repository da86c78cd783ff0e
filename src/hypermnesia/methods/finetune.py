"""Fine-tuning: plain training on one task after another. The lower bound on shared weights; the upper bound `joint`
is the same method on a stream whose tasks are joined."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Net


@dataclass(frozen=True, kw_only=True)
class Finetune(Method):
    """Cross-entropy on the current batch, over the active outputs of its task, and nothing else."""

    only_passes_input = True

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        logits = net(batch.x, batch.task)
        value = F.cross_entropy(logits, batch.target)
        return value, Aux({"cross_entropy": value.detach()}, logits.detach())
