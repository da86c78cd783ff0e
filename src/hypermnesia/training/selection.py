"""What a task's validation part says while it trains: the best model so far, and whether accuracy has stalled."""

from dataclasses import dataclass, replace

import torch

from hypermnesia.core import tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, Task
from hypermnesia.evaluation.evaluate import EvaluateOptions, batches
from hypermnesia.methods.learner import Learner, Phase
from hypermnesia.training import reading
from hypermnesia.training.batches import Order
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.step import precision
from hypermnesia.weights.model import Model, evaluating


@dataclass(frozen=True)
class Selection:
    """Where one task's training stands by its validation part."""

    train: TrainOptions
    optimizer: OptimizerOptions
    evaluation: EvaluateOptions
    best: float = -1.0
    """Highest accuracy so far, 0..1; −1 before the first look."""
    kept: Tensors | None = None
    """The model at that moment, where it is to be kept."""
    stalled: int = 0
    """Looks since then, or since the rate was last lowered."""
    lowered: int = 0
    """How often the learning rate has been lowered."""

    def look(self, learner: Learner, task: Task, done: int, whole: int, order: Order) -> "Selection":
        """The state after `done` of `whole` steps, with a look at the task's validation part where that is due.

        `order`: that of the task's samples. The last step brings the best model back.
        """
        if done < whole and done % (self.train.look_every or order.steps_per_epoch()):
            return self
        reading.renew(learner, task)
        with precision(self.train, learner.device):
            accuracy = accuracy_of(learner, task, self.evaluation)
        after = looked(self, accuracy, learner.model)
        if done == whole:
            restore(after, learner.model)
        return after


def looks(train: TrainOptions, optimizer: OptimizerOptions) -> bool:
    """Whether anything depends on the validation parts while a task trains."""
    return train.select == "best_validation" or optimizer.schedule == "plateau"


def check(train: TrainOptions, optimizer: OptimizerOptions, stream: Stream) -> None:
    """Raise `HypermnesiaError` where validation parts are needed that the stream does not have."""
    if looks(train, optimizer) and stream.target is not None:
        raise HypermnesiaError(
            "train.select and optimizer.schedule=plateau go by accuracies; of numbers there are none"
        )
    if looks(train, optimizer) and any(task.validation is None for task in stream.tasks):
        word = "optimizer.schedule=plateau" if train.select == "last" else "train.select=best_validation"
        raise HypermnesiaError(
            f"{word} looks at each task's validation part, and this stream has none: set stream.validation, for "
            "example to 0.1"
        )


def looked(before: Selection, accuracy: float, model: Model) -> Selection:
    """The state after a look that found this accuracy. Of equal ones the first is the best."""
    if accuracy > before.best:
        keeps = before.train.select == "best_validation"
        return replace(before, best=accuracy, kept=tensors.copy(model.stored()) if keeps else None, stalled=0)
    stalled = before.stalled + 1
    if before.optimizer.schedule == "plateau" and stalled > before.optimizer.patience:
        return replace(before, stalled=0, lowered=before.lowered + 1)
    return replace(before, stalled=stalled)


def accuracy_of(learner: Learner, task: Task, options: EvaluateOptions) -> float:
    """Accuracy 0..1 on the task's validation part with the task given, that is among its classes; masks at their full
    sparsity."""
    model, part = learner.model, task.validation
    assert part is not None
    progress = model.ramp
    with torch.no_grad(), evaluating(model):
        model.set_progress(1.0)
        overlay = model.overlay(task.index)
        own = learner.targets(torch.tensor(task.classes, device=learner.device), task.index)
        hits = [
            own[model.call(overlay, x, task.index)[:, own].argmax(1)] == learner.targets(y, task.index)
            for x, y in (load() for load in batches(part, learner, options))
        ]
    model.ramp = progress
    return float(torch.cat(hits).double().mean())


def restore(selection: Selection, model: Model) -> None:
    """Bring the model back to its best moment, where that was kept."""
    if selection.kept is not None:
        with torch.no_grad():
            for name, value in model.stored().items():
                value.copy_(selection.kept[name])


def begun(
    phase: Phase, train: TrainOptions, optimizer: OptimizerOptions, evaluation: EvaluateOptions
) -> Selection | None:
    """The state at a phase's start; None where nothing depends on the validation part."""
    judged = phase.trains and phase.data is None and phase.model == "main" and looks(train, optimizer)
    return Selection(train, optimizer, evaluation) if judged else None
