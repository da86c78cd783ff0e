"""Latent replay: a frozen body, and a memory of what it makes of the samples (Pellegrini et al. 2020,
arXiv:1912.01100; as the baseline LR-k of Hemati et al. 2023)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import NotNegative
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Task
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.methods.replay.buffer import Memory, check, empty, insert
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay, logits, rehearse
from hypermnesia.nets.stages import stages
from hypermnesia.weights import body
from hypermnesia.weights.body import Cut
from hypermnesia.weights.model import Model, evaluating

_CHUNK = 256  # samples per forward pass when a task is remembered


@dataclass(frozen=True)
class LatentState:
    memory: Memory | None
    """Features at the cut, labelled with global class ids; None before the first task's end."""


@dataclass(frozen=True, kw_only=True)
class LatentReplay(Method):
    """Cross-entropy on the batch + coefficient · cross-entropy of the tail on remembered features of the
    body.

    The model's roles say where the cut is: the body is the longest run of first stages whose parameters are
    all frozen, after the first task at the latest (`weights.cut` or `weights.body`); stages without
    parameters that follow it, such as pooling, belong to it. Its statistics rest too, so the remembered
    features stay what the body makes of those samples. They are taken at a task's end, in evaluation mode and
    without augmentation.
    """

    coefficient: NotNegative = 1.0
    """Weight of the replay, ≥ 0; 1 and 0 (its ablation) are published."""
    memory: MemoryOptions = MemoryOptions(size=200, batch_size=64, policy="class-balanced")
    """The memory of features. Published: 200 (CIFAR-100) or 400 (Tiny ImageNet), 64 in a step."""

    def init(self, learner: Learner) -> LatentState:
        cut(learner.model)  # an error now, not after the first task
        check(self.memory.size, learner.num_classes)
        return LatentState(None)

    def draw(self, state: LatentState, learner: Learner, batch: Batch, rng: torch.Generator) -> Replay | None:
        """Remembered features, as the `x` of a draw."""
        if state.memory is None or self.coefficient == 0:
            return None
        return rehearse(state.memory, learner, self.memory, rng, prepare=lambda stored, _: stored)

    def loss(self, net: Net, state: LatentState, batch: Batch, draw: Replay | None) -> tuple[Tensor, Aux]:
        current = net(batch.x, batch.task)
        value = F.cross_entropy(current, batch.target)
        terms = {"cross_entropy": value.detach()}
        if draw is not None:
            tail = cut(net.model).tail
            answers = logits(lambda features, task: net(features, task, part=tail), draw)
            replayed = self.coefficient * F.cross_entropy(answers, draw.target)
            value, terms["replay"] = value + replayed, replayed.detach()
        return value, Aux(terms, current.detach())

    def end_task(self, state: LatentState, learner: Learner, task: Task, rng: torch.Generator) -> LatentState:
        """Offer the features of the whole task to the memory."""
        memory, model = state.memory, learner.model
        frozen, _ = cut(model)
        with torch.no_grad(), evaluating(model):
            for chosen in torch.arange(len(task.train)).split(_CHUNK):
                raw, y = task.train.batch(chosen)
                features = frozen(learner.preprocess(raw, None))
                if memory is None:
                    memory = self._empty(features)
                memory = insert(memory, features, y, task.index, None, rng)
        return LatentState(memory)

    def _empty(self, features: Tensor) -> Memory:
        options = self.memory
        shape, dtype, device = features.shape[1:], features.dtype, features.device
        return empty(options.size, shape, policy=options.policy, dtype=dtype, device=device)


def cut(model: Model) -> Cut:
    """(body, tail) of the target. Raises `HypermnesiaError` where nothing, or everything, is frozen."""
    found = body.cut(model)
    if found is not None:
        return found
    frozen = set(model.roles.values()) <= {"body", "frozen"}
    raise HypermnesiaError(
        "latent-replay needs first stages that are frozen after the first task, and later ones that are not; "
        f"here {'all' if frozen else 'none'} are frozen. Set weights.cut to the last frozen stage, or "
        f"weights.body to patterns; the stages of {type(model.target).__name__} are: {', '.join(stages(model.target))}"
    )
