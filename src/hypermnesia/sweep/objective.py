"""The number that a search makes better: a figure on the validation parts, never one on the test parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypermnesia.errors import HypermnesiaError, unknown

FIGURES = {
    "average_accuracy": True,
    "average_incremental_accuracy": True,
    "learning_accuracy": True,
    "backward_transfer": True,
    "forgetting": False,
}
"""Figure → whether more of it is better. Forward transfer is none: it is measured on test parts only."""
PREFERRED = ("class", "domain", "task")


@dataclass(frozen=True)
class Objective:
    """A figure of one scenario, on the validation parts."""

    scenario: str
    figure: str

    @property
    def path(self) -> str:
        """Where result.json of a sealed run holds it."""
        return f"validation.scenarios.{self.scenario}.{self.figure}"

    @property
    def maximise(self) -> bool:
        return FIGURES[self.figure]


def choose(path: str | None, scenarios: Sequence[str]) -> Objective:
    """The objective that `path` names; by default the average accuracy of the hardest scenario there is.

    `scenarios`: those that apply to the stream and the head. Raises `HypermnesiaError` for figures that a search
    must not see, that do not exist, and of scenarios that do not apply.
    """
    if path is None:
        return Objective(next(name for name in PREFERRED if name in scenarios), "average_accuracy")
    parts = path.split(".")
    if parts[0] == "scenarios":
        raise HypermnesiaError(
            f"--objective {path} is a test figure, which no search may see; write validation.{path}"
        )
    if len(parts) != 4 or parts[:2] != ["validation", "scenarios"]:
        raise HypermnesiaError(
            f"--objective {path}: expected validation.scenarios.SCENARIO.FIGURE, "
            "for example validation.scenarios.class.average_accuracy"
        )
    _, _, scenario, figure = parts
    if scenario not in scenarios:
        raise unknown("scenario of this stream and head", scenario, scenarios)
    if figure not in FIGURES:
        raise unknown("figure", figure, FIGURES)
    return Objective(scenario, figure)
