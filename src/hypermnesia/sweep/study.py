"""Who decides what is tried next: Optuna, made repeatable.

Settings depend on the search's seed, the number of the trial and the results told before it is asked for, never on
timing: every trial draws from generators of its own, and the driver tells results in the order of the trials.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from hypermnesia.core.rng import derive
from hypermnesia.evaluation.schema import Outcome
from hypermnesia.evaluation.schema import Trial as TrialRecord
from hypermnesia.experiments.config.words import write_value
from hypermnesia.sweep.plan import Algorithm
from hypermnesia.sweep.space import Choice, Dimension, Settings, Space, grid_point

FEWEST_FINISHED = 5
"""Complete trials without which none is given up."""
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_OUTCOMES = {name: state for state, name in _STATES.items()}
_OWNER, _BARS = "owner", "bars"
Bars = tuple[float | None, ...]


@dataclass(frozen=True)
class Begun:
    """A trial to run."""

    number: int
    settings: Settings
    bars: Bars
    """What it is held against; it stays the same when the trial has to start again."""


class Numbered(BaseSampler):
    """Settings from the trial's number: the grid's point of that number, or what a sampler seeded with it draws."""

    def __init__(self, algorithm: Algorithm, space: Space, seed: int) -> None:
        self._algorithm, self._space, self._seed = algorithm, space, seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler(trial.number).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._algorithm == "grid":
            return write_value(grid_point(self._space, trial.number)[param_name])
        sampler = self._sampler(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, *names: str | int) -> BaseSampler:
        seed = derive(self._seed, "sweep", *names) % 2**32
        return TPESampler(seed=seed) if self._algorithm == "tpe" else RandomSampler(seed=seed)


class Search:
    """The trials of one study. Of those still running, this process answers for those of `owner`; None = for all."""

    def __init__(
        self, storage: Any, name: str, space: Space, sampler: Numbered, maximise: bool, owner: str | None
    ) -> None:
        import optuna

        direction = "maximize" if maximise else "minimize"
        self._study = optuna.create_study(
            storage=storage, study_name=name, sampler=sampler, direction=direction, load_if_exists=True
        )
        self._space, self._owner = space, owner
        self._distributions = {key: _distribution(dimension) for key, dimension in space.items()}

    def ask(self, bars: Bars = ()) -> Begun:
        """Begin a trial, which is to be held against `bars`."""
        trial = self._study.ask()
        trial.set_user_attr(_OWNER, self._owner)
        trial.set_user_attr(_BARS, bars)
        return Begun(trial.number, self._suggested(trial), bars)

    def unfinished(self) -> list[Begun]:
        """The trials that an earlier process of this owner began and did not finish, by number."""
        found = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._owner is None or trial.user_attrs.get(_OWNER) == self._owner:
                bars = tuple(trial.user_attrs.get(_BARS, ()))
                found.append(Begun(trial.number, self._suggested(self._live(trial)), bars))
        return found

    def tell(self, number: int, outcome: Outcome) -> None:
        """Finish a trial."""
        trial = self._live(self._study.get_trials(deepcopy=False)[number])
        known = self._study.get_trials(deepcopy=False)[number].intermediate_values
        for step, score in enumerate(outcome.scores):
            if score is not None and step not in known:
                trial.report(score, step)
        trial.set_user_attr("reason", outcome.reason)
        trial.set_user_attr("seconds", outcome.seconds)
        value = outcome.value if outcome.state == "complete" else None
        self._study.tell(number, value, _OUTCOMES[outcome.state])

    def bars(self, steps: int) -> Bars:
        """Median accuracy of the complete trials after each step; None where too few tell."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        bars: list[float | None] = []
        for step in range(steps):
            scores = [t.intermediate_values[step] for t in complete if step in t.intermediate_values]
            bars.append(median(scores) if len(scores) >= FEWEST_FINISHED else None)
        return tuple(bars)

    def count(self) -> int:
        """Trials begun so far, by whomever."""
        return len(self._study.get_trials(deepcopy=False))

    def others_running(self) -> int:
        """Trials that other machines have in hand."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return 0 if self._owner is None else sum(t.user_attrs.get(_OWNER) != self._owner for t in running)

    def records(self, outcomes: Mapping[int, Outcome]) -> list[TrialRecord]:
        """All trials as they stand; `outcomes`: of finished trials that have not been told yet."""
        return [self._record(t, outcomes.get(t.number)) for t in self._study.get_trials(deepcopy=False)]

    def _record(self, trial: FrozenTrial, outcome: Outcome | None) -> TrialRecord:
        told: dict[str, Any] = {"state": "running"}
        if trial.state in _STATES:
            value = trial.value if trial.state is TrialState.COMPLETE else None
            told = {name: trial.user_attrs.get(name) for name in ("reason", "seconds")}
            told |= {"state": _STATES[trial.state], "value": value}
        elif outcome is not None:
            told = outcome.model_dump(include={"state", "value", "reason", "seconds"})
        return TrialRecord(number=trial.number, settings=self._settings(trial.params), **told)

    def _live(self, trial: FrozenTrial) -> Trial:
        # Optuna has no public way from a number to a trial to report to.
        return Trial(self._study, trial._trial_id)

    def _suggested(self, trial: Trial) -> Settings:
        return self._settings({key: _suggest(trial, key, d) for key, d in self._distributions.items()})

    def _settings(self, parameters: Mapping[str, Any]) -> Settings:
        return {key: _as_value(self._space[key], parameters[key]) for key in self._space if key in parameters}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.texts)
    if dimension.kind == "int":
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.kind == "log")


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution():
            return trial.suggest_categorical(key, distribution.choices)
        case IntDistribution():
            return trial.suggest_int(key, distribution.low, distribution.high)
        case FloatDistribution():
            return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
    raise TypeError(f"no search is made over {distribution}")


def _as_value(dimension: Dimension, parameter: Any) -> Any:
    """A setting's value from Optuna's, which knows choices by their words, since a list is no choice to it."""
    return dimension.values[dimension.texts.index(parameter)] if isinstance(dimension, Choice) else parameter
