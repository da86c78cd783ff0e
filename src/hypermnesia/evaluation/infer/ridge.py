"""Inference by a classifier in closed form: on the network that all tasks start from, or on the input itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Checked, Count, Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import TaskScores, all_logits, check, chosen, features, first_task
from hypermnesia.evaluation.infer.prototype import Mode
from hypermnesia.methods.closed_form import ClosedFormState, RanPAC, Ridge, samples
from hypermnesia.methods.learner import Learner
from hypermnesia.nets.stages import classifier
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True, kw_only=True)
class RidgeInference(Checked, section="ridge"):
    """The task of the class that ridge regression gives most, on features of the frozen network without any task's changes.

    Its sums are exact (`core.exact`) and see all classes alike, so tasks compete on one scale; the weights of the task that
    wins, such as an adapter that a hypernetwork writes, then tell its classes apart. Stores (d + C) · d numbers.
    """

    of: Literal["network", "input"] = "network"
    """What it sees: the features of the network that all tasks start from, which has to rest, or the input as it is."""

    strength: Positive = 1e-3
    """λ as a share of the mean of the Gram matrix's diagonal."""
    width: Count | None = None
    """Random features, as RanPAC has them; none = the features themselves."""
    mode: Mode = "task"
    """class: the class is the answer. task: it only names the task, whose network then answers."""

    @property
    def _ridge(self) -> Ridge:
        if self.width is None:
            return Ridge(strength=self.strength)
        return RanPAC(strength=self.strength, width=self.width)

    def init(self, learner: Learner) -> ClosedFormState:
        check("ridge", learner)
        model, last = learner.model, classifier(learner.model.target)
        masks_only = model.base_trainable == "never"
        rests = {"frozen", "added", "body", *(["masked"] if masks_only else [])}
        moved = [
            name
            for name, role in model.roles.items()
            if role not in rests and name.rpartition(".")[0] != last
        ]
        if moved and self.of == "network":
            raise HypermnesiaError(
                f"infer=ridge looks through the network that all tasks start from, and here {moved[0]} does not rest: take "
                "weights=lora, a network of which only the classifier is the tasks' own, or infer.of=input"
            )
        if self.of == "input" and learner.dtype == torch.int64:
            raise HypermnesiaError(
                "infer.of=input takes samples as vectors, and these are texts, whose tokens are no numbers: take infer=fecam"
            )
        if len({c for classes in learner.classes for c in classes}) < sum(map(len, learner.classes)):
            raise HypermnesiaError("infer=ridge names the task of a class, and here tasks share classes")
        return ClosedFormState()

    @torch.no_grad()
    def end_task(self, state: ClosedFormState, learner: Learner, task: Task) -> ClosedFormState:
        ridge = self._ridge
        with evaluating(learner.model):
            for x, y in samples(learner, task):
                state = ridge.shown(state, self._seen(learner, x), y, learner.num_classes)
        return ridge.solved(state)

    def scores(
        self, state: ClosedFormState, learner: Learner, overlays: Sequence[Tensors], x: Tensor
    ) -> TaskScores:
        if state.weight is None:
            return first_task(learner, overlays, x)
        scored = self._ridge.scored(state, self._seen(learner, x))
        best = scored.argmax(1)
        owner = torch.zeros(learner.num_classes, dtype=torch.int64, device=x.device)
        for task, classes in enumerate(learner.classes[: len(overlays)]):
            owner[list(classes)] = task
        guess = owner[best]
        if self.mode == "task":
            return chosen(guess, all_logits(learner, overlays, x))
        unknown = (
            learner.num_classes - scored.shape[1]
        )  # classes of the task that goes on, until it has ended
        scored = F.pad(scored, (0, unknown), value=-torch.inf)
        local, scores = torch.zeros_like(best), []
        assert learner.model.head is not None
        for task in range(len(overlays)):
            local = torch.where(guess == task, learner.targets(best, task), local)
            outputs = torch.tensor(learner.model.head.outputs(task), device=x.device)
            scores.append(scored[:, outputs.clamp_min(0)].where(outputs >= 0, -torch.inf))
        return TaskScores(guess, local, tuple(scores), comparable=True)

    def _seen(self, learner: Learner, x: Tensor) -> Tensor:
        """What the ridge sees of x (B, …): (B, d)."""
        return x.float().flatten(1) if self.of == "input" else _start(learner, x)


def _start(learner: Learner, x: Tensor) -> Tensor:
    """Features (B, d) of the network without any task's changes; its classifier has to have values, but plays no part."""
    model = learner.model
    last = model.target.get_submodule(classifier(model.target))
    written = any(value.is_meta for value in last.parameters())
    path = f"{classifier(model.target)}."
    own = (
        {name: value for name, value in model.overlay(0).items() if name.startswith(path)} if written else {}
    )
    return features(model, own, x, 0)[0].flatten(1)
