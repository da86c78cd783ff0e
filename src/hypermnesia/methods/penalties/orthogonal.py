"""O-LoRA: each task's adapter reads another subspace (Wang et al. 2023, arXiv:2310.14152)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.weights.hypernets.adapters import Adapters


@dataclass(frozen=True, kw_only=True)
class Orthogonal(Penalty):
    """strength · Σ over matrices and earlier tasks i of ‖V_iᵀ V_t‖², V (in, rank) being what an addition U Vᵀ reads.

    For `weights=lora written=summed` (or stored). The reference code sums absolute values in place of squares.
    """

    name: ClassVar[str] = "orthogonal"

    strength: NotNegative = 0.5
    """λ ≥ 0; 0.5 is published."""

    def init(self, learner: Learner) -> None:
        writer = learner.model.generator
        if not isinstance(writer, Adapters) or writer.sharing == "shared":
            raise HypermnesiaError(
                "orthogonal.strength keeps the adapters of different tasks apart, and here there are none: take weights=lora "
                "with weights.written=summed or stored"
            )

    def value(self, net: Net, state: None, draw: None) -> Tensor | None:
        writer = net.model.generator
        assert isinstance(writer, Adapters)
        last = writer.num_tasks - 1
        if last < 1:
            return None
        total = []
        for i in range(len(writer.groups)):
            now = net.params[f"generator.down.{i}.{last}"]
            earlier = torch.cat([row.detach() for row in list(writer.rows("down")[i])[:last]], -1)
            total.append((earlier.mT @ now).square().sum())
        return self.strength * torch.stack(total).sum()
