"""LUCIR, learning a unified classifier incrementally via rebalancing: cosines, features that keep their direction, and a
margin between old and new classes (Hou, Pan, Loy, Wang & Lin 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.declared import Count, NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Step
from hypermnesia.methods.replay import nearest_mean, rehearsal
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.nets.classifiers import CosineLinear
from hypermnesia.nets.stages import classifier
from hypermnesia.weights.model import Model, evaluating


@dataclass(frozen=True)
class LUCIRState:
    memory: Memory
    learned: Tensor
    """(outputs,) bool: classes of earlier tasks."""
    old: Tensors = field(default_factory=dict)
    """Every tensor of the model as the previous task left it; empty in the first task."""
    sums: Tensor | None = None
    """(outputs, d): of the new task's features of length 1, by class, until its first step."""


@dataclass(frozen=True)
class LUCIRDraw:
    replay: Replay | None
    old: Tensor | None
    """(B + m, d) features of batch and draw by the previous task's network."""


@dataclass(frozen=True, kw_only=True)
class LUCIR(ReplayMethod):
    """CE + λ · mean (1 − cos(φ(x), φ*(x))) + ranking · mean max(0, margin − p_y(x) + p_k(x)), over batch and draw as one (Hou et
    al. 2019, eq. 5 to 8); the classifier takes cosines (weights.classifier=cosine).

    φ* are the features of the previous task's network, λ = strength · √(old classes / new classes); both terms begin with
    the second task. The last one looks at samples of old classes alone: p are the cosines, p_k those of the `nearest` new
    classes that are closest. A new class's weight starts as its samples' mean feature, of length 1, times the mean length of
    the old weights, which rest from then on.

    Differences: (1) exemplars (herding, as iCaRL's) are rehearsed beside each batch, `memory.batch_size` of them; there they
    are merged into the task's data. (2) There is no second training of the classifier on the balanced memory. (3) Old weights
    get no gradient, but weight decay shortens them, which the cosine does not notice.
    """

    policies: ClassVar[tuple[str, ...]] = ("herding",)

    strength: NotNegative = 5.0
    """λ at as many old classes as new ones, ≥ 0. Published: 5 (CIFAR-100), 10 (ImageNet)."""
    ranking: NotNegative = 1.0
    """Weight of the margin, ≥ 0. Published: 1."""
    nearest: Count = 2
    """New classes that each old sample is held away from, ≥ 1; at most as many as there are. Published: 2."""
    margin: NotNegative = 0.5
    """Published: 0.5."""
    memory: MemoryOptions = MemoryOptions(policy="herding")
    """The exemplars; `memory.policy` is herding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory.policy != "herding":
            raise HypermnesiaError(f"lucir: memory.policy={self.memory.policy} must be herding")

    def init(self, learner: Learner) -> LUCIRState:
        if learner.model.depends_on_task:
            raise HypermnesiaError(
                "lucir has one classifier for all classes: take weights=plain with weights.head=shared"
            )
        _head(learner.model)
        return LUCIRState(rehearsal.empty_memory(learner, self.memory), learner.mask(()))

    def begin_task(self, state: LUCIRState, learner: Learner) -> LUCIRState:
        old = tensors.padded(state.old, learner.model.stored())
        return replace(state, learned=learner.mask(learner.earlier_classes), old=old)

    def phases(self, learner: Learner) -> Sequence[Phase]:
        imprint = Phase("imprint", trains=False, epochs=1)
        return (imprint, Phase()) if learner.task else (Phase(),)

    def draw(self, state: LUCIRState, learner: Learner, batch: Batch, rng: torch.Generator) -> LUCIRDraw:
        if not learner.phase.trains:
            return LUCIRDraw(None, None)
        if state.sums is not None:
            self._imprint(state, learner.model)
        replay = rehearsal.rehearse(state.memory, learner, self.memory, rng)
        if not state.old:
            return LUCIRDraw(replay, None)
        x = batch.x if replay is None else torch.cat([batch.x, replay.x])
        with torch.no_grad(), evaluating(learner.model):
            return LUCIRDraw(replay, Net(learner.model, state.old).features(x, batch.task)[0])

    @staticmethod
    @torch.no_grad()
    def _imprint(state: LUCIRState, model: Model) -> None:
        """Give new classes the direction of their mean feature, and the mean length of the old weights."""
        weight = _head(model).weight
        assert state.sums is not None
        fresh = ~state.learned & state.sums.any(1)
        length = weight[state.learned].norm(dim=1).mean()
        weight[fresh] = F.normalize(state.sums[fresh]) * length

    def loss(self, net: Net, state: LUCIRState, batch: Batch, draw: LUCIRDraw) -> tuple[Tensor, Aux]:
        x, target = batch.x, batch.target
        if draw.replay is not None:
            x, target = torch.cat([x, draw.replay.x]), torch.cat([target, draw.replay.target])
        path = f"target.{classifier(net.model.target)}"
        weight, scale = net.params[f"{path}.weight"], net.params[f"{path}.scale"]
        rested = torch.where(state.learned[:, None], weight.detach(), weight)
        features, logits = net.at({f"{path}.weight": rested}).features(x, batch.task)
        value = F.cross_entropy(logits, target)
        terms = {"cross_entropy": value.detach()}
        if draw.old is not None:
            old, new = _counts(net.model, batch.task)
            turned = 1 - F.cosine_similarity(features, draw.old, dim=1)
            kept = self.strength * sqrt(old / new) * turned.mean()
            ranked = self.ranking * self._ranking(
                logits / scale, target, state.learned, batch.task, net.model
            )
            terms |= {"features": kept.detach(), "ranking": ranked.detach()}
            value = value + kept + ranked
        return value, Aux(terms, logits[: len(batch.y)].detach())

    def _ranking(self, cosines: Tensor, target: Tensor, learned: Tensor, task: int, model: Model) -> Tensor:
        _, new = _counts(model, task)
        assert model.head is not None
        fresh = cosines[:, list(model.head.classes[task])]
        closest = fresh.topk(min(self.nearest, new), dim=1).values
        gaps = F.relu(self.margin - cosines.gather(1, target[:, None]) + closest)
        old = learned[target]
        count = (old.sum() * closest.shape[1]).clamp_min(1)
        return torch.where(old[:, None], gaps, 0).sum() / count

    def after_step(self, state: LUCIRState, learner: Learner, step: Step, rng: torch.Generator) -> LUCIRState:
        if learner.phase.trains:
            return replace(state, sums=None) if state.sums is not None else state
        batch = step.batch
        with evaluating(learner.model):
            x = learner.preprocess(batch.raw, None)
            features = nearest_mean.features(learner, x, batch.task)
        sums = state.sums
        if sums is None:
            sums = features.new_zeros(learner.num_classes, features.shape[1])
        return replace(state, sums=sums.index_add(0, batch.y, features))

    @torch.no_grad()
    def end_task(self, state: LUCIRState, learner: Learner, task: Task, rng: torch.Generator) -> LUCIRState:
        memory = nearest_mean.herded(state.memory, learner, task)
        return replace(state, memory=memory, old=tensors.copy(learner.model.stored()))


def _counts(model: Model, task: int) -> tuple[int, int]:
    """Classes of the tasks before, and of this one."""
    assert model.head is not None
    earlier = {c for classes in model.head.classes[:task] for c in classes}
    return len(earlier), len(model.head.classes[task])


def _head(model: Model) -> CosineLinear:
    head = model.target.get_submodule(classifier(model.target))
    if not isinstance(head, CosineLinear):
        raise HypermnesiaError("lucir needs a classifier of cosines: set weights.classifier=cosine")
    return head
