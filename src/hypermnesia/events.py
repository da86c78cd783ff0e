"""What `fit` tells its listeners: progress bars, logs, trackers and checkpoints read these, `fit` knows none of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Row = list[float | None]


@dataclass(frozen=True)
class TaskStarted:
    task: int
    name: str
    tasks: int
    """Tasks in the stream."""


@dataclass(frozen=True)
class StepDone:
    """After every optimizer step. Reading a tensor's value makes the host wait: do it now and then only."""

    task: int
    phase: str
    step: int
    """Steps done in this phase, from 1."""
    steps: int
    """Steps of the whole phase."""
    total_steps: int
    """Steps done in the whole run."""
    loss: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Evaluated:
    task: int
    """Tasks learned so far, minus one; −1 for the untrained network."""
    step: int | None
    """Step within the task for evaluations on the way; None at a task's end."""
    scenarios: Mapping[str, Row]
    """scenario → accuracy on every test part, in 0..1; None where it does not apply."""
    validation: Mapping[str, Row] | None = None
    """The same on the validation parts; then `scenarios` is empty: nothing is selected on test."""


@dataclass(frozen=True)
class TaskEnded:
    task: int
    seconds: float
    """Training time so far, evaluation excluded."""


@dataclass(frozen=True)
class RunEnded:
    steps: int
    seconds: float


Event = TaskStarted | StepDone | Evaluated | TaskEnded | RunEnded
