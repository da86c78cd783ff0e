"""The numbers of a result, each told once: its name, its title, what is better, its unit."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from hypermnesia.core import units

Unit = Literal["share", "points", "count", "bytes", "s", "1/s", "own"]
"""own: that of the numbers that are learned; share: a fraction in 0..1, shown in percent; points: a difference of two shares,
shown with its sign."""


@dataclass(frozen=True)
class Figure:
    """One number of a result, of a scenario or of the whole run."""

    name: str
    """Its key on disk."""
    title: str
    better: Literal[1, -1, 0]
    """More, less, neither."""
    unit: Unit
    short: str = ""
    """Its title where there is little room; by default the same."""
    in_search: bool = False
    """Whether a search may look for the best: it is known from validation parts alone."""

    @property
    def signed(self) -> bool:
        """Whether it is shown with its sign: a gain or a loss, whichever it turns out to be."""
        return self.unit == "points" and self.better > 0

    @property
    def write(self) -> Callable[[float | None, float | None], str]:
        """Shows a cost to people: `units.count`, or what its unit asks for."""
        if self.unit == "own":
            return lambda value, like: units.plain(value)
        return {"bytes": units.size, "s": units.duration}.get(self.unit, units.count)


METRICS = (
    Figure("average_accuracy", "Average accuracy", 1, "share", "Accuracy", in_search=True),
    Figure("average_incremental_accuracy", "Average incremental accuracy", 1, "share", in_search=True),
    Figure("forgetting", "Forgetting", -1, "points", in_search=True),
    Figure("backward_transfer", "Backward transfer", 1, "points", in_search=True),
    Figure("forward_transfer", "Forward transfer", 1, "points"),
    Figure("learning_accuracy", "Learning accuracy", 1, "share", in_search=True),
)
"""Of every scenario, beside its matrix; see `evaluation.metrics`. Forward transfer is measured on test parts only."""

ERROR = Figure("mean_absolute_error", "Mean absolute error", -1, "own", in_search=False)
"""Of every scenario where numbers were learned, in the target's own units. There accuracies are R², a share of the variance."""


def where_classes_return(scenarios: Iterable[Collection[str]]) -> bool:
    """Whether classes return in a run with these figures, by name, of each scenario: there is then a test for each class and
    none for a task, however many there are."""
    return any(figure.name in found for found in scenarios for figure in RETURNING)


def worded(text: str, numbers: bool) -> str:
    """A text that speaks of accuracies, of R² where numbers were learned."""
    if not numbers:
        return text
    for word, other in (("accuracies", "R²"), ("Accuracy", "R²"), ("accuracy", "R²")):
        text = text.replace(word, other)
    return text


def beside(numbers: bool) -> str:
    """What stands before a percentage that nothing else says the meaning of."""
    return "R² " if numbers else ""


RETURNING = (Figure("missing_class_accuracy", "Accuracy on classes missing from the last task", 1, "share"),)
"""Of every scenario on streams whose classes return, too."""

ANYTIME = (
    Figure("average_anytime_accuracy", "Average anytime accuracy", 1, "share"),
    Figure("worst_case_accuracy", "Worst-case accuracy", 1, "share"),
    Figure("stability_gap", "Stability gap", -1, "points"),
)
"""Of every scenario that was measured on the way, too."""

COSTS = (
    Figure("trainable_parameters", "Trainable parameters", -1, "count"),
    Figure("target_parameters", "Parameters of the target network", 0, "count"),
    Figure("generator_parameters", "Parameters of the generator", -1, "count"),
    Figure("stored_bytes", "Stored", -1, "bytes"),
    Figure("train_seconds", "Training time", -1, "s"),
    Figure("steps", "Steps", 0, "count"),
    Figure("steps_per_second", "Steps per second", 1, "1/s"),
    Figure("peak_memory_bytes", "Peak memory", -1, "bytes"),
)
"""What a run took and what it keeps."""
