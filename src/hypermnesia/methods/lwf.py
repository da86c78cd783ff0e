"""LwF, learning without forgetting: Li & Hoiem 2016 (arXiv:1606.09282)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import Count, NotNegative, Positive
from hypermnesia.core.rng import some
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class LwFState:
    old: Tensors
    """The whole model (parameters and buffers, by name) when the task began; empty in the first task."""
    outputs: Tensor
    """int64: on weights that all tasks share, the outputs of the classes of earlier tasks."""


@dataclass(frozen=True)
class OldOutputs:
    """What the old model says of the batch, for one earlier task, or for all where they share weights."""

    task: int
    logits: Tensor
    """(B, old outputs)"""


@dataclass(frozen=True)
class LwFDraw:
    old: tuple[OldOutputs, ...]
    weight: float
    """Earlier tasks for each one that is in `old`."""


@dataclass(frozen=True, kw_only=True)
class LwF(Method):
    """Cross-entropy + alpha · Σ_j KL(old answer of task j on this batch ‖ its new answer), at temperature T.

    The answers are softmax(logits / T) of the current task's samples: no sample is kept. Where all tasks
    share their weights and outputs there is one such term, over the classes of all earlier tasks. Where the
    weights depend on the task there is one for every earlier task, over that task's own outputs.
    """

    alpha: NotNegative = 1.0
    """Weight of the distillation, ≥ 0 (the paper's λ_o). DER's authors: 1 Split MNIST, 3 Split CIFAR-10."""
    temperature: Positive = 2.0
    """T > 0; 2 in the paper. There is no factor T² here, as there is none there."""
    tasks_per_step: Count = 5
    """With task-specific weights: at most so many earlier tasks, ≥ 1, answer in a step. They are drawn anew each
    time, and their terms scaled up so that the expected loss is that of all."""

    @property
    def needs_boundaries(self) -> bool:
        return True

    def init(self, learner: Learner) -> LwFState:
        return LwFState({}, torch.zeros(0, dtype=torch.int64))

    def begin_task(self, state: LwFState, learner: Learner) -> LwFState:
        if learner.task == 0 or self.alpha == 0:
            return self.init(learner)
        outputs = torch.tensor(sorted(learner.earlier_classes), device=learner.device)
        return LwFState(tensors.copy(learner.model.stored()), outputs)

    def draw(self, state: LwFState, learner: Learner, batch: Batch, rng: torch.Generator) -> LwFDraw | None:
        """The old model's answers for this batch, in evaluation mode; None in the first task."""
        if not state.old:
            return None
        model = learner.model
        net = Net(model, state.old)
        with torch.no_grad(), evaluating(model):
            if not model.depends_on_task:
                logits = net(batch.x, batch.task).index_select(1, state.outputs)
                return LwFDraw((OldOutputs(batch.task, logits),), 1.0)
            tasks = some(learner.task, self.tasks_per_step, rng)
            old = tuple(OldOutputs(task, net(batch.x, task)) for task in tasks)
        return LwFDraw(old, learner.task / len(old))

    def loss(self, net: Net, state: LwFState, batch: Batch, draw: LwFDraw | None) -> tuple[Tensor, Aux]:
        logits = net(batch.x, batch.task)
        value = F.cross_entropy(logits, batch.target)
        terms = {"cross_entropy": value.detach()}
        if draw is not None:
            shared = not net.model.depends_on_task
            new = [
                logits.index_select(1, state.outputs) if shared else net(batch.x, o.task) for o in draw.old
            ]
            kept = [self._divergence(o.logits, n) for o, n in zip(draw.old, new, strict=True)]
            distillation = self.alpha * draw.weight * torch.stack(kept).sum()
            value, terms["distillation"] = value + distillation, distillation.detach()
        return value, Aux(terms, logits.detach())

    def _divergence(self, old: Tensor, new: Tensor) -> Tensor:
        """Mean over the batch of KL(softmax(old / T) ‖ softmax(new / T)); logits (B, outputs)."""
        log_old, log_new = ((logits / self.temperature).log_softmax(1) for logits in (old, new))
        # torch's kl_div has no batched form for several seeds at once.
        return (log_old.exp() * (log_old - log_new)).sum(1).mean()
