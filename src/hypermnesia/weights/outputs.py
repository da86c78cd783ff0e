"""Which classes a network's outputs stand for."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError

HeadKind = Literal["shared", "sliced", "per_task"]


@dataclass(frozen=True)
class Head:
    """Maps global class ids to a network's outputs, task by task.

    `shared`: one output for every class of the stream, all of them active in every task.
    `sliced`: one wide layer, of which task t uses the columns of its own classes (the published Split-MNIST
    hypernetwork). `per_task`: as many outputs as the largest task has classes; which classes they stand for
    depends on the task (generated, stored or masked heads).
    """

    kind: HeadKind
    classes: tuple[tuple[int, ...], ...]
    """Global class ids of every task, in the order of the task's outputs."""
    num_classes: int
    """Classes of the whole stream."""
    least: int = 0
    """per_task: outputs of every task at least, beyond its classes; those too many stand for no class, but take part
    in the softmax."""

    def __post_init__(self) -> None:
        if self.kind not in ("shared", "sliced", "per_task"):
            raise HypermnesiaError(f"head={self.kind!r} is not known; there are: shared, sliced, per_task")
        if self.least and self.kind != "per_task":
            raise HypermnesiaError(
                f"weights.head_width={self.least} widens heads that tasks have for themselves: take "
                f"weights.head=per_task, not {self.kind}"
            )

    @property
    def width(self) -> int:
        """Outputs that the target network must have."""
        if self.kind == "shared":
            return self.num_classes
        sizes = [len(classes) for classes in self.classes]
        return sum(sizes) if self.kind == "sliced" else max(self.least, *sizes)

    def columns(self, task: int) -> slice:
        """The active outputs of a task, as a slice of the network's outputs."""
        if self.kind == "shared":
            return slice(0, self.num_classes)
        start = sum(len(classes) for classes in self.classes[:task]) if self.kind == "sliced" else 0
        return slice(start, start + max(self.least, len(self.classes[task])))

    def outputs(self, task: int) -> tuple[int, ...]:
        """Global class ids of a task's active outputs, in their order; −1 for an output that stands for no class."""
        if self.kind == "shared":
            return tuple(range(self.num_classes))
        return self.classes[task] + (-1,) * (self.least - len(self.classes[task]))

    @cached_property
    def _columns_of_classes(self) -> Tensor:
        table = torch.full((len(self.classes), self.num_classes), -1, dtype=torch.int64)
        for task in range(len(self.classes)):
            outputs = torch.tensor([c for c in self.outputs(task) if c >= 0])
            table[task, outputs] = torch.arange(len(outputs))
        return table

    def targets(self, y: Tensor, task: int) -> Tensor:
        """Class ids `y` (B,) as positions among the active outputs of `task`: int64 (B,), −1 for a class that has none.
        Numbers to be told, float32 (B,), stay as they are."""
        if self.kind == "shared" or y.is_floating_point():
            return y
        return self._columns_of_classes[task].to(y.device).index_select(0, y)
