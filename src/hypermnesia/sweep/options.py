"""What a search is asked to do, beside what it varies."""

from dataclasses import dataclass
from typing import Literal, get_args

from hypermnesia.errors import HypermnesiaError, unknown

ProtocolName = Literal["validation", "first-tasks", "transfer"]
Algorithm = Literal["grid", "random", "tpe"]
DEFAULT_TRIALS = 24


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How settings are tried and judged."""

    trials: int | None = None
    """Settings to try, ≥ 1; None = the whole grid, or `DEFAULT_TRIALS` where there is a range."""
    objective: str | None = None
    """`validation.scenarios.SCENARIO.FIGURE`; None = average accuracy in class, else domain, else task."""
    protocol: ProtocolName = "validation"
    """What trials see, none of which is a test part: a validation part of each task; of the first tasks only
    (first-tasks); of the tasks of another benchmark (transfer)."""
    first_tasks: int = 3
    """Tasks that trials see under first-tasks, ≥ 1; with 1, nothing can be said of forgetting."""
    transfer: str | None = None
    """The benchmark that trials run on under transfer."""
    algorithm: Algorithm | None = None
    """grid, random, or tpe (Bergstra et al. 2011, as Optuna has it); None = grid if it is whole, else tpe."""
    prune: bool | None = None
    """Give a trial up when its accuracy after a task is below the median of finished trials at that task; None = yes,
    but for a grid."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of every trial, whose value is their mean."""
    final_seeds: int = 3
    """Runs of the winner on test, with the first seeds beyond all of `seeds`; 0 = none."""
    seed: int = 0
    """Seed of the search itself: trial number and earlier results decide the settings, nothing else does."""

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("first_tasks", 1), ("final_seeds", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise HypermnesiaError(f"{name}={value} must be at least {least}")
        for name, value, known in (
            ("protocol", self.protocol, get_args(ProtocolName)),
            ("algorithm", self.algorithm, get_args(Algorithm)),
        ):
            if value is not None and value not in known:
                raise unknown(name, value, known)
        if (self.protocol == "transfer") != (self.transfer is not None):
            raise HypermnesiaError(
                "the protocol transfer needs the benchmark to tune on (transfer=NAME), and it alone takes one"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise HypermnesiaError(f"seeds={list(self.seeds)}: give at least one seed, each once")

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """The seeds of the winner's runs: none that the search has seen."""
        first = max(self.seeds) + 1
        return tuple(range(first, first + self.final_seeds))

    def plan(self, points: int | None) -> tuple[Algorithm, int]:
        """The algorithm and the number of trials for a grid of `points` points (None: there is a range)."""
        whole = points is not None and (self.trials is None or self.trials >= points)
        algorithm = self.algorithm or ("grid" if whole else "tpe")
        if algorithm != "grid":
            return algorithm, self.trials or DEFAULT_TRIALS
        if points is None:
            raise HypermnesiaError(
                "a grid has no ranges; list the values to try, or search with random or tpe"
            )
        if not whole:
            raise HypermnesiaError(
                f"the grid has {points} points and trials={self.trials}: leave trials out, or search with "
                "random or tpe"
            )
        return "grid", points
