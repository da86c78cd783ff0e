"""HNET+R: a plain classifier, protected by replay from an autoencoder that a hypernetwork protects
(von Oswald et al. 2020, arXiv:1906.00695)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import Positive
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.methods.replay import generative
from hypermnesia.methods.replay.generative import Generated, GenerativeOptions, VAEDraw
from hypermnesia.methods.replay.rehearsal import ABSENT, mixes_samples
from hypermnesia.weights.model import Model, evaluating


@dataclass(frozen=True)
class HNETReplayState:
    old: Tensors
    """The whole classifier (parameters and buffers, by name) when the task began; empty in the first task."""
    seen: Tensor
    """(classes,) bool: classes of the tasks up to the current one."""
    earlier: Tensor
    """(classes,) bool: classes of the tasks before it."""


@dataclass(frozen=True)
class Answered:
    """Replayed samples and what the old classifier says of them: of one task, or of all that share their weights."""

    task: int
    x: Tensor
    """(m, …) network input."""
    teacher: Tensor
    """(m, active outputs) logits; `ABSENT` at outputs that share no probability."""


@dataclass(frozen=True, kw_only=True)
class HNETReplay(Method):
    """(1 − r) · cross-entropy of the batch + r · distillation, from the classifier before the task, on replay.

    With a head that all tasks share, the softmax runs over the classes seen so far (class-incremental, CL3). With
    `head=sliced` each task has its own (CL1), with `head=per_task` all have the same few (CL2). After the classifier,
    the autoencoder learns the task; its decoders of earlier tasks are held by the penalty `drift_vae`, without
    which they forget.
    """

    written_models: ClassVar[tuple[str, ...]] = (generative.MODEL,)

    temperature: Positive = 2.0
    """T > 0 of the distillation T² · KL(softmax(old / T) ‖ softmax(new / T)) (published 2)."""
    hard_targets: bool = False
    """Learn the old classifier's answer as a label, by cross-entropy, in place of the distillation."""
    new_classes: Literal["logit", "probability"] = "logit"
    """What the old classifier's answer says of the task's new classes, where all tasks share one softmax. logit: their
    logit is 0 (published code). probability: that is 0 (van de Ven & Tolias 2019), from which the classifier learns
    to tell real images from replayed ones, and takes real images of old classes for new ones."""
    replay: GenerativeOptions = GenerativeOptions()
    """The replayed samples and the autoencoder that they are drawn from."""

    @property
    def needs_boundaries(self) -> bool:
        return True

    def extra_models(self, stream: Stream, seed: int) -> dict[str, Model]:
        return {generative.MODEL: self.replay.build(stream, seed)}

    def init(self, learner: Learner) -> HNETReplayState:
        return HNETReplayState({}, learner.mask(()), learner.mask(()))

    def begin_task(self, state: HNETReplayState, learner: Learner) -> HNETReplayState:
        seen, earlier = learner.mask(learner.seen_classes), learner.mask(learner.earlier_classes)
        replays = learner.task > 0 and self.replay.share > 0
        return HNETReplayState(tensors.copy(learner.model.stored()) if replays else {}, seen, earlier)

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return (Phase("classifier"), self.replay.phase())

    def draw(
        self, state: HNETReplayState, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> tuple[Answered, ...] | VAEDraw:
        if learner.phase.model == generative.MODEL:
            return generative.draw_noise(learner, self.replay, batch, rng)
        dreams = generative.dream(learner, self.replay, len(batch.y), rng) if state.old else None
        return self._answered(state, learner, dreams) if dreams is not None else ()

    @torch.no_grad()
    def _answered(self, state: HNETReplayState, learner: Learner, dreams: Generated) -> tuple[Answered, ...]:
        model = learner.model
        old = Net(model, state.old)
        blocks = list(zip(dreams.tasks, dreams.x, strict=True))
        if not model.depends_on_task:
            blocks = [(learner.task, dreams.x.flatten(0, 1))]
        with evaluating(model):
            return tuple(Answered(task, x, self._padded(old, state, old(x, task))) for task, x in blocks)

    def _padded(self, net: Net, state: HNETReplayState, logits: Tensor) -> Tensor:
        """The old classifier's logits, with what they say of classes that it had not met replaced."""
        if not _is_shared(net):
            return logits
        known = torch.where(state.earlier, logits, ABSENT)
        if self.new_classes == "probability" or self.hard_targets:  # no label may be that of a new class
            return known
        return torch.where(state.seen & ~state.earlier, 0.0, known)

    def loss(
        self, net: Net, state: HNETReplayState, batch: Batch, draw: tuple[Answered, ...] | VAEDraw
    ) -> tuple[Tensor, Aux]:
        if isinstance(draw, VAEDraw):
            return generative.vae_loss(net, batch, draw)
        logits, students = _forward(net, batch, draw)
        value = F.cross_entropy(_open(net, state, logits), batch.target)
        terms = {"cross_entropy": value.detach()}
        if draw:
            each = [self._kept(_open(net, state, s), a) for s, a in zip(students, draw, strict=True)]
            replayed = torch.stack(each).mean()  # equal shares, so this is the mean over all samples
            share = self.replay.share
            value, terms["replay"] = (1 - share) * value + share * replayed, replayed.detach()
        return value, Aux(terms, logits.detach())

    def _kept(self, student: Tensor, answered: Answered) -> Tensor:
        """The loss of replayed samples whose logits are `student` (m, active outputs)."""
        if self.hard_targets:
            return F.cross_entropy(student, answered.teacher.argmax(1))
        target = (answered.teacher / self.temperature).softmax(1)
        answer = (student / self.temperature).log_softmax(1)
        return self.temperature**2 * F.kl_div(answer, target, reduction="batchmean")


def _forward(net: Net, batch: Batch, draw: tuple[Answered, ...]) -> tuple[Tensor, list[Tensor]]:
    """Logits of the batch and of the replayed samples: in one pass where the weights and the network allow it."""
    if len(draw) == 1 and draw[0].task == batch.task and not mixes_samples(net.model):
        both = net(torch.cat([batch.x, draw[0].x]), batch.task)
        own, replayed = both.split([len(batch.y), len(draw[0].x)])
        return own, [replayed]
    return net(batch.x, batch.task), [net(answered.x, answered.task) for answered in draw]


def _open(net: Net, state: HNETReplayState, logits: Tensor) -> Tensor:
    """Logits with the outputs of classes still to come shut, where all tasks share one head."""
    return torch.where(state.seen, logits, ABSENT) if _is_shared(net) else logits


def _is_shared(net: Net) -> bool:
    head = net.model.head
    assert head is not None
    return head.kind == "shared"
