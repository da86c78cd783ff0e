"""From what the user said to a search that can start: everything that can be wrong is found here.

What trials may see and what the winner is run on, the three ways of tuning without looking at the answer:

- validation: a validation part is cut from each task's training samples (the default).
- first-tasks: the same, and the stream ends after its first tasks, as a learner that cannot look into the future
  would tune (Chaudhry et al. 2019, arXiv:1812.00420; Lee et al. 2024, arXiv:2404.06466).
- transfer: trials run on another benchmark (Cha & Cho 2024, arXiv:2403.09066).

Whichever it is, a trial never reads a test part, and the winner is trained on all training samples of the benchmark.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypermnesia.core.declared import Checked, Count, Natural
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.evaluation.evaluate import applicable
from hypermnesia.evaluation.figures import METRICS
from hypermnesia.experiments import config
from hypermnesia.experiments.build import build
from hypermnesia.experiments.recipes import Recipe
from hypermnesia.experiments.resolve import SELECTORS, Config, resolve, with_words
from hypermnesia.runs.directory import default_directory
from hypermnesia.sweep.record import space_json
from hypermnesia.sweep.space import Space, corners, parse_space, published_words, setting_words, size
from hypermnesia.training.selection import looks

Algorithm = Literal["grid", "random", "tpe"]


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


ProtocolName = Literal["validation", "first-tasks", "transfer"]


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Checked, section="sweep"):
    """How settings are tried and judged."""

    trials: Count | None = None
    """Settings to try, ≥ 1; None = the whole grid, or `DEFAULT_TRIALS` where there is a range."""
    objective: str | None = None
    """`validation.scenarios.SCENARIO.FIGURE`; None = average accuracy in class, else domain, else task."""
    protocol: ProtocolName = "validation"
    """What trials see, none of which is a test part: a validation part of each task; of the first tasks only
    (first-tasks); of the tasks of another benchmark (transfer)."""
    first_tasks: Count = 3
    """Tasks that trials see under first-tasks, ≥ 1; with 1, nothing can be said of forgetting."""
    transfer: str | None = None
    """The benchmark that trials run on under transfer."""
    algorithm: Algorithm | None = None
    """grid, random, or tpe (Bergstra et al. 2011, as Optuna has it); None = grid if it is whole, else tpe."""
    prune: bool | None = None
    """Give a trial up when its accuracy after a task is below the median of finished trials at that task; None = yes,
    but for a grid."""
    seeds: tuple[Natural, ...] = (0,)
    """Seeds of every trial, whose value is their mean."""
    final_seeds: Natural = 3
    """Runs of the winner on test, with the first seeds beyond all of `seeds`; 0 = none."""
    seed: int = 0
    """Seed of the search itself: trial number and earlier results decide the settings, nothing else does."""

    def __post_init__(self) -> None:
        super().__post_init__()
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


@dataclass(frozen=True)
class Problem:
    """What is searched for: the best settings of an approach on a benchmark."""

    benchmark: str
    approach: str
    fixed: tuple[str, ...]
    """Words that hold for every trial and for the winner."""
    options: SweepOptions
    recipe: Recipe | None = None
    """Published settings to start from instead of the approach's own defaults."""

    def trial(self, settings: Mapping[str, Any]) -> Config:
        """The configuration of a trial."""
        words = [*self.fixed, *setting_words(settings)]
        if self.options.protocol == "first-tasks":
            words.append(f"stream.first_tasks={self.options.first_tasks}")
        if self.options.transfer is not None:
            return _holding_back(resolve(self.options.transfer, self.approach, words))
        return _holding_back(resolve(self.benchmark, self.approach, words, recipe=self.recipe))

    def final(self, settings: Mapping[str, Any]) -> Config:
        """The configuration of the winner's runs on test: no sample is held back, unless training itself looks at some."""
        words = [word for word in self.fixed if not _is_validation(word)]
        words += setting_words(settings)
        cfg = resolve(self.benchmark, self.approach, words, recipe=self.recipe)
        if looks(cfg.sections["train"], cfg.sections["optimizer"]):
            return _holding_back(cfg, [*filter(_is_validation, self.fixed)])
        return cfg


def _holding_back(cfg: Config, words: Sequence[str] = ()) -> Config:
    """The configuration with a validation part: by its own settings, else by `words`, else by our default."""
    if cfg.sections["stream"].validation is not None:
        return cfg
    return with_words(cfg, words or [f"stream.validation={VALIDATION}"])


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
        whole = build(problem.final(first), options.seeds[0], data_dir)
        check_length(options, len(whole.tested_on.tasks))
    trial = build(problem.trial(first), options.seeds[0], data_dir, sealed=True)
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


DEFAULT_TRIALS = 24

FIGURES = {figure.name: figure.better > 0 for figure in METRICS if figure.in_search}
"""Figure → whether more of it is better."""
PREFERRED = ("class", "domain", "task")


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


VALIDATION = 0.1
"""Fraction of the training samples that trials are judged on, unless `stream.validation` says another."""
NOT_SEARCHED = {
    "stream": "it decides what the problem is",
    "seeds": "it decides what chance brings",
    "evaluate": "it decides how results are measured",
    "checkpoint": "it changes no result",
}


def check(problem: Problem, space: Space) -> None:
    """Raise `HypermnesiaError` for settings that do not exist, that must not be searched, and for values that they
    cannot have, alone or together."""
    for number, settings in enumerate(corners(space)):
        try:
            cfg = problem.trial(settings)
            problem.final(settings)
        except HypermnesiaError as error:
            if number == 0:  # what is wrong with the first one is wrong with the others, too
                raise
            said = " ".join(setting_words(settings))
            raise HypermnesiaError(
                f"{error} (in the trial {said}; search apart what does not go together)"
            ) from error
        for key in space:
            _refuse(key, cfg)


def check_length(options: SweepOptions, tasks: int) -> None:
    """Raise unless the benchmark, of `tasks` tasks, goes on after the first ones."""
    if options.protocol == "first-tasks" and options.first_tasks >= tasks:
        raise HypermnesiaError(
            f"first_tasks={options.first_tasks}: the benchmark has {tasks} tasks, so none would be left unseen; "
            "take fewer, or the protocol validation"
        )


def _refuse(key: str, cfg: Config) -> None:
    full = SELECTORS.get(key, key)
    if "." not in full:
        full = next((k for k in config.keys(cfg.sections) if k.endswith(f".{full}")), full)
    section = full.partition(".")[0]
    if section in NOT_SEARCHED:
        raise HypermnesiaError(f"{key} cannot be searched over: {NOT_SEARCHED[section]}; give it one value")


def _is_validation(word: str) -> bool:
    return word.partition("=")[0].strip() in ("validation", "stream.validation")
