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
from hypermnesia.weights.hypernets.factors import OuterFactor


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

    def begin_task(self, state: None, learner: Learner) -> None:
        writer = learner.model.generator
        if isinstance(writer, Adapters) and writer.reads_rest:
            raise HypermnesiaError(
                "orthogonal.strength turns what adapters read, which inflora sets and lets rest: leave one of the two out"
            )

    def value(self, net: Net, state: None, draw: None) -> Tensor | None:
        writer = net.model.generator
        assert isinstance(writer, Adapters)
        last = writer.num_tasks - 1
        if last < 1:
            return None
        total = []
        for factor in net.generate(range(last + 1) if writer.differs else [last], factored=True):
            assert isinstance(factor, OuterFactor)
            reads = factor.v.movedim(0, -2).flatten(
                -2
            )  # (matrices, in, ranks of all tasks one after the other)
            earlier, now = reads.split([reads.shape[-1] - writer.rank, writer.rank], -1)
            total.append((earlier.detach().mT @ now).square().sum())
        return self.strength * torch.stack(total).sum()
