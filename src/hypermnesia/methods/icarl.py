"""iCaRL: herded exemplars, distillation of the old outputs, and answers by the nearest class mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.nearest_mean import class_means, herded, nearness
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class ICaRLState:
    """Exemplars, the network before the current task, and the class means after the latest one."""

    memory: Memory
    seen: Tensor
    """(classes,) bool: classes of the tasks begun so far."""
    learning: Tensor
    """(classes,) bool: classes of the current task."""
    old: Tensors = field(default_factory=dict)
    """Every tensor of the model as the previous task left it; empty in the first task."""
    means: Tensors = field(default_factory=dict)
    """Task (as text; "shared" where all tasks share their weights) → (active outputs, d) unit means of normalised
    features, zero for classes without an exemplar. Empty while a task trains."""


@dataclass(frozen=True)
class ICaRLDraw:
    """Exemplars of a step, and what each output should say, in 0..1."""

    target: Tensor
    """(B, active outputs), of the batch."""
    open: Tensor
    """(active outputs,) bool: outputs of classes seen so far."""
    replay: Replay | None = None
    replay_target: Tensor | None = None
    """(m, outputs), of the exemplars."""
    replay_open: Tensor | None = None
    """(m, outputs) or (outputs,) bool."""


@dataclass(frozen=True, kw_only=True)
class ICaRL(Method):
    """Incremental classifier and representation learning (Rebuffi et al. 2017, arXiv:1611.07725, algorithms 1 to 5).

    Training: binary cross-entropy of every output of a class seen so far, mean over samples and outputs, on the
    batch joined by exemplars. The target is the label, and for outputs of earlier tasks' classes what the network
    said before this task (a sigmoid). At a task's end each class seen keeps memory.size // classes exemplars (a
    remainder goes to the first classes), chosen by herding. Answers: the class whose exemplars' mean feature is
    nearest; features are the input of the last linear layer, L2-normalised, and a mean is taken over exemplars
    and, with `flip`, their mirror images. While a task trains, answers are the outputs themselves: its classes
    have no exemplars yet.

    Differences: (1) the paper and Mammoth merge the exemplars into the task's data, so that a batch holds few of
    them (`merged`); without it each step rehearses `memory.batch_size` of them. (2) The loss is a mean over samples
    and outputs, as in Mammoth; the paper sums over outputs. (3) Mammoth neither normalises features nor mirrors
    exemplars; the paper normalises, and the authors' code does both. (4) Weight decay (1e-5 · Σ w² in the loss as
    published, 2e-5 as torch counts it) is `optimizer.weight_decay`.
    (5) Outputs of a class that comes again are trained on labels, not distilled. (6) On weights that depend on the
    task, exemplars pass their own task's network; the old answers about the batch are those of the previous
    task's network, and there are none where the batch's task has outputs of its own.
    """

    policies: ClassVar[tuple[str, ...]] = ("herding",)

    flip: bool | None = None
    """Whether class means include mirror images of the exemplars. none = where training mirrors images too."""
    merged: bool = False
    """Whether the exemplars join the task's samples, as published. For weights that tasks share."""
    memory: MemoryOptions = MemoryOptions(policy="herding")
    """The exemplars; `memory.policy` is herding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory.policy != "herding":
            raise HypermnesiaError(f"icarl: memory.policy={self.memory.policy} must be herding")

    def phases(self, learner: Learner) -> Sequence[Phase]:
        if not self.merged or learner.task == 0:
            return (Phase(),)
        return (Phase(beside=lambda state, learner: rehearsal.Remembered(state.memory)),)

    def init(self, learner: Learner) -> ICaRLState:
        if self.merged and learner.model.depends_on_task:
            raise HypermnesiaError(
                "icarl.merged=true trains old and new samples as one task, and these weights depend on the task: take "
                "icarl.merged=false"
            )
        if self.flip and len(learner.shape) != 3:
            raise HypermnesiaError(
                f"icarl.flip=true mirrors images (C, H, W), but samples have the shape {learner.shape}: "
                "set icarl.flip=false"
            )
        none = learner.mask(())
        return ICaRLState(rehearsal.empty_memory(learner, self.memory), none, none)

    def begin_task(self, state: ICaRLState, learner: Learner) -> ICaRLState:
        seen, learning = learner.mask(learner.seen_classes), learner.mask(learner.classes[learner.task])
        old = tensors.padded(state.old, learner.model.stored())  # nothing of it that is new is distilled
        return replace(state, seen=seen, learning=learning, old=old, means={})

    def draw(self, state: ICaRLState, learner: Learner, batch: Batch, rng: torch.Generator) -> ICaRLDraw:
        head = learner.model.head
        assert head is not None
        outputs = len(head.outputs(batch.task))
        target = F.one_hot(batch.target, outputs).float()
        everywhere = torch.ones(outputs, dtype=torch.bool, device=learner.device)
        own = ICaRLDraw(target, state.seen if head.kind == "shared" else everywhere)
        distilled = state.seen & ~state.learning
        if self.merged and state.old:
            answers = _old_answers(state, learner, batch)
            return replace(own, target=torch.where(distilled, answers, target))
        replay = rehearsal.rehearse(state.memory, learner, self.memory, rng) if state.old else None
        if replay is None:
            return own
        answers, replayed = _old_answers_of_both(state, learner, batch, replay)
        if answers is not None:
            own = replace(own, target=torch.where(distilled, answers, target))
        labels = F.one_hot(replay.target, replayed.shape[1]).float()
        if replay.classes is None:
            again, known = distilled, state.seen
        else:
            known = replay.classes >= 0
            again = known & distilled[replay.classes.clamp_min(0)]
        wanted = torch.where(again, replayed, labels)
        return replace(own, replay=replay, replay_target=wanted, replay_open=known)

    def loss(self, net: Net, state: ICaRLState, batch: Batch, draw: ICaRLDraw) -> tuple[Tensor, Aux]:
        replays = [] if draw.replay is None else [draw.replay]
        logits, replayed = rehearsal.forward(net, batch.x, batch.task, replays, joint=True)
        total, count = _cross_entropies(logits, draw.target, draw.open)
        if draw.replay_target is not None and draw.replay_open is not None:
            more, others = _cross_entropies(replayed[0], draw.replay_target, draw.replay_open)
            total, count = total + more, count + others
        value = total / count
        return value, Aux({"cross_entropy": value.detach()}, logits.detach())

    @torch.no_grad()
    def end_task(self, state: ICaRLState, learner: Learner, task: Task, rng: torch.Generator) -> ICaRLState:
        memory = herded(state.memory, learner, task)
        mirrors = learner.preprocess.flip if self.flip is None else self.flip
        with evaluating(learner.model):
            means = class_means(memory, learner, mirrors)
        return replace(state, memory=memory, old=tensors.copy(learner.model.stored()), means=means)

    def scores(self, state: ICaRLState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """Minus the squared distances to the class means, −∞ for classes without exemplars; (B, active outputs)."""
        return nearness(state.means, learner, x, task)


@torch.no_grad()
def _old_answers(state: ICaRLState, learner: Learner, batch: Batch) -> Tensor:
    """Sigmoids of the old network, in evaluation mode, for the batch."""
    with evaluating(learner.model):
        return torch.sigmoid(Net(learner.model, state.old)(batch.x, batch.task))


@torch.no_grad()
def _old_answers_of_both(
    state: ICaRLState, learner: Learner, batch: Batch, replay: Replay
) -> tuple[Tensor | None, Tensor]:
    """Sigmoids of the old network, in evaluation mode, for the batch (None: no outputs in common) and the exemplars.

    They are part of the draw because a compiled or stacked loss cannot switch modes.
    """
    model = learner.model
    assert model.head is not None
    old = Net(model, state.old)
    with evaluating(model):
        if model.head.kind != "shared":
            return None, torch.sigmoid(rehearsal.logits(old, replay))
        teacher = batch.task - 1 if model.depends_on_task else batch.task
        answers, (replayed,) = rehearsal.forward(old, batch.x, teacher, [replay], joint=True)
        return torch.sigmoid(answers), torch.sigmoid(replayed)


def _cross_entropies(logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of binary cross-entropies over known outputs, their number)."""
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return torch.where(known, each, 0).sum(), known.expand_as(logits).sum()
