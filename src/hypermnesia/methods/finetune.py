"""Fine-tuning: plain training on one task after another. The lower bound on shared weights; the upper bound `joint`
is the same method on a stream whose tasks are joined."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hypermnesia.core.fitting import fitting
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Net


@dataclass(frozen=True, kw_only=True)
class Finetune(Method):
    """Cross-entropy on the current batch, over the active outputs of its task, and nothing else; of numbers the squared error."""

    only_passes_input = True
    tells_numbers = True

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        logits = net(batch.x, batch.task)
        name, distance = fitting(batch.target)
        value = distance(logits, batch.target)
        return value, Aux({name: value.detach()}, logits.detach())
