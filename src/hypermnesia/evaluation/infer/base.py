"""What all ways to infer the task share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Inference as Inference
from hypermnesia.methods.learner import Learner, TaskScores
from hypermnesia.nets.stages import classifier_inputs
from hypermnesia.weights.body import through_body
from hypermnesia.weights.model import Model, evaluating


def check(name: str, learner: Learner) -> None:
    """Raise `HypermnesiaError` if the inference called `name` has nothing to choose from in this learner."""
    if not learner.model.depends_on_task:
        raise nothing_to_infer(name)


def nothing_to_infer(name: str) -> HypermnesiaError:
    """The error for the inference called `name` where all tasks share their weights; for raising."""
    return HypermnesiaError(
        f"infer={name} guesses whose weights an input needs, but all tasks of this model share theirs. "
        "Leave infer out, or choose weights that depend on the task: weights=hyper, partial, mask or lora, "
        "values stored for each task (weights.per_task), or heads of their own (head=sliced, per_task)"
    )


def all_logits(learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> list[Tensor]:
    """Logits (B, active outputs) of every task learned so far, in task order.

    What a frozen body makes of the batch is computed once; then one forward per task over the whole batch. Stacking the
    tasks' weights into a single vmapped forward gains nothing at evaluation's batch sizes on a CPU (multilayer perceptron:
    equal; convolutions: four times slower).
    """
    x, after = through_body(learner.model, x)
    return [learner.model.call(overlay, x, task, **after) for task, overlay in enumerate(overlays)]


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits) over the last axis; finite for saturated logits (0·log 0 = 0)."""
    return torch.special.entr(logits.float().softmax(-1)).sum(-1)


def chosen(guess: Tensor, logits: Sequence[Tensor]) -> TaskScores:
    """The answer of each sample's guessed task: `guess` (B,), `logits` one (B, outputs) per task."""
    answers = torch.stack([of_task.argmax(1) for of_task in logits])  # (T, B)
    return TaskScores(guess, answers.gather(0, guess[None])[0], tuple(logits))


def first_task(learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
    """Every sample taken for the first task, as long as no task is finished and nothing is known of any."""
    guess = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return chosen(guess, all_logits(learner, overlays[:1], x))


_CHUNK = 1000  # samples per forward pass


def train_logits(learner: Learner, task: Task) -> Tensor:
    """(N, active outputs): what the network of `task` says of all its training samples, not augmented."""
    model = learner.model
    with torch.no_grad(), evaluating(model):
        overlay = model.overlay(task.index)
        parts = torch.arange(len(task.train)).split(_CHUNK)
        seen = (learner.preprocess(task.train.batch(positions)[0], None) for positions in parts)
        return torch.cat([model.call(overlay, x, task.index).float() for x in seen])


@dataclass(frozen=True)
class ClassFeatures:
    """The features of one class's training samples under its task's weights."""

    local: int
    """Position of the class among the task's active outputs."""
    features: Tensor
    """(n, d)"""


def features(
    model: Model, overlay: Tensors, x: Tensor, task: int, part: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """(features (B, d), logits (B, active outputs)) of `x` (B, …), with `task`'s weights given in
    `overlay`; `part` as for `Model.call`."""
    with classifier_inputs(model.target) as seen:
        logits = model.call(overlay, x, task, part=part)
    return seen[-1].float(), logits


def by_class(learner: Learner, task: Task) -> list[ClassFeatures]:
    """The features of all training samples of `task`, class by class: in evaluation mode, not augmented."""
    model, found, labels = learner.model, [], []
    with torch.no_grad(), evaluating(model):
        overlay = model.overlay(task.index)
        for positions in torch.arange(len(task.train)).split(_CHUNK):
            raw, y = task.train.batch(positions)
            found.append(features(model, overlay, learner.preprocess(raw, None), task.index)[0])
            labels.append(learner.targets(y, task.index))
    everything, local = torch.cat(found), torch.cat(labels)
    return [ClassFeatures(k, everything[local == k]) for k in local.unique().tolist()]
