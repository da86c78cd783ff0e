"""What trials may see and what the winner is run on: the three ways of tuning without looking at the answer.

- validation: a validation part is cut from each task's training samples (the default).
- first-tasks: the same, and the stream ends after its first tasks, as a learner that cannot look into the future
  would tune (Chaudhry et al. 2019, arXiv:1812.00420; Lee et al. 2024, arXiv:2404.06466).
- transfer: trials run on another benchmark (Cha & Cho 2024, arXiv:2403.09066).

Whichever it is, a trial never reads a test part, and the winner is trained on all training samples of the benchmark.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypermnesia import config, experiment
from hypermnesia.errors import HypermnesiaError
from hypermnesia.experiment import SELECTORS, Config
from hypermnesia.recipes import Recipe
from hypermnesia.sweep.options import SweepOptions
from hypermnesia.sweep.space import Space, corners, setting_words

VALIDATION = 0.1
"""Fraction of the training samples that trials are judged on, unless `stream.validation` says another."""
NOT_SEARCHED = {
    "stream": "it decides what the problem is",
    "seeds": "it decides what chance brings",
    "evaluate": "it decides how results are measured",
    "checkpoint": "it changes no result",
}


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
        if not any(_is_validation(word) for word in words):
            words.append(f"stream.validation={VALIDATION}")
        if self.options.protocol == "first-tasks":
            words.append(f"stream.first_tasks={self.options.first_tasks}")
        if self.options.transfer is not None:
            return experiment.resolve(self.options.transfer, self.approach, words)
        return experiment.resolve(self.benchmark, self.approach, words, recipe=self.recipe)

    def final(self, settings: Mapping[str, Any]) -> Config:
        """The configuration of the winner's runs on test: no sample is held back."""
        words = [word for word in self.fixed if not _is_validation(word)]
        words += setting_words(settings)
        return experiment.resolve(self.benchmark, self.approach, words, recipe=self.recipe)


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
