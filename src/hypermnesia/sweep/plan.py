"""From what the user said to a search that can start: everything that can be wrong is found here."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypermnesia import experiment
from hypermnesia.errors import HypermnesiaError
from hypermnesia.evaluate import applicable
from hypermnesia.recipes import Recipe
from hypermnesia.runs import default_directory
from hypermnesia.sweep.objective import Objective, choose
from hypermnesia.sweep.options import Algorithm, SweepOptions
from hypermnesia.sweep.protocols import Problem, check, check_length
from hypermnesia.sweep.record import space_json
from hypermnesia.sweep.space import Space, corners, parse_space, published_words, size


@dataclass(frozen=True)
class Plan:
    """A search, checked."""

    problem: Problem
    space: Space
    objective: Objective
    algorithm: Algorithm
    trials: int
    tasks: int
    """Tasks that a trial trains with each seed."""
    prunes: bool

    @property
    def adaptive(self) -> bool:
        """Whether trials depend on the results of earlier ones."""
        return self.prunes or self.algorithm == "tpe"

    def judged(self) -> list[bool]:
        """For each score of a trial, whether it may be given up there: not in the first third of the tasks, which says
        little about forgetting, and not after the last task, where nothing is left to save."""
        first = math.ceil(self.tasks / 3)
        return [first <= task < self.tasks - 1 for task in range(self.tasks)] * len(
            self.problem.options.seeds
        )

    def identity(self) -> dict[str, Any]:
        """What makes two searches the same. The number of trials does not: a search can go on."""
        problem, options = self.problem, self.problem.options
        return {
            "benchmark": problem.benchmark,
            "approach": problem.approach,
            "recipe": problem.recipe.name if problem.recipe else None,
            "fixed": list(problem.fixed),
            "space": space_json(self.space),
            "objective": self.objective.path,
            "protocol": options.protocol,
            "first_tasks": options.first_tasks if options.protocol == "first-tasks" else None,
            "transfer": options.transfer,
            "algorithm": self.algorithm,
            "prune": self.prunes,
            "seeds": list(options.seeds),
            "seed": options.seed,
        }

    @property
    def sha256(self) -> str:
        """Identifies the search."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    @property
    def default_directory(self) -> Path:
        """runs/BENCHMARK/APPROACH-sweep-<first 8 of the search's hash>."""
        cfg = self.problem.final(corners(self.space)[0])
        return default_directory(cfg).with_name(f"{self.problem.approach}-sweep-{self.sha256[:8]}")


def plan(
    benchmark: str,
    approach: str,
    words: Sequence[str],
    options: SweepOptions,
    recipe: Recipe | None = None,
    data_dir: Path | None = None,
) -> Plan:
    """The search that `words` describe; of a recipe's published grid, they replace the settings that they name.

    Raises `HypermnesiaError` for whatever would make every trial fail: words, settings, values, objective, protocol,
    data.
    """
    space, fixed = parse_space(words)
    if recipe is not None:
        said = {word.partition("=")[0].strip() for word in words}
        published = {key: values for key, values in recipe.search.items() if key not in said}
        grid, single = parse_space(published_words(published))
        space, fixed = {**grid, **space}, [*single, *fixed]
    if not space:
        raise HypermnesiaError(
            "there is nothing to search: give a setting several values (drift.beta=0.01,0.1,1) or a range "
            "(drift.beta=log(1e-4,1))"
        )
    problem = Problem(benchmark, approach, tuple(fixed), options, recipe)
    check(problem, space)
    first = corners(space)[0]
    if options.protocol != "validation":
        whole = experiment.build(problem.final(first), options.seeds[0], data_dir)
        check_length(options, len(whole.tested_on.tasks))
    trial = experiment.build(problem.trial(first), options.seeds[0], data_dir, sealed=True)
    algorithm, trials = options.plan(size(space))
    return Plan(
        problem,
        space,
        choose(options.objective, applicable(trial.learner, trial.tested_on)),
        algorithm,
        trials,
        len(trial.stream.tasks),
        options.prune if options.prune is not None else algorithm != "grid",
    )
