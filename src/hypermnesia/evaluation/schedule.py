"""When, where and on what a run is measured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Stream
from hypermnesia.evaluation.evaluate import EvaluateOptions, Evaluation, applicable, evaluate
from hypermnesia.evaluation.records import Records, Row
from hypermnesia.evaluation.regression import check_inference
from hypermnesia.methods.learner import Learner

MANY_TASKS = 10
"""Beyond so many, the task is inferred after the last one only, unless asked for."""


class Measured(NamedTuple):
    """One evaluation: scenario → accuracy on every test part, and on the validation parts where there are some."""

    scenarios: dict[str, Row]
    validation: dict[str, Row] | None
    confusion: list[Row] | None = None
    errors: Row | None = None
    """Of numbers, on every test part."""


def note(records: Records, found: Measured, task: int, step: int | None) -> None:
    """Write an evaluation down: of the untrained network (`task` −1), after `step` steps of a task, or at its end."""
    if task < 0:
        records.baseline = found.scenarios
    elif step is not None:
        records.add_on_the_way(task, step, found.scenarios or found.validation or {})
    else:
        if found.validation is not None:
            records.add(task, found.validation, validation=True)
        records.add(task, found.scenarios)
        records.confusion = found.confusion or records.confusion
        records.add_errors(task, found.errors)


class Schedule:
    """The evaluations of one run. They change nothing: what they have found is `note`d by who asked for them."""

    def __init__(
        self,
        learner: Learner,
        tasks: int,
        tested_on: Stream,
        options: EvaluateOptions,
        sealed: bool,
    ) -> None:
        """`tasks`: how many are trained. `sealed`: never touch the test parts."""
        self._learner, self._tasks, self._tested_on = learner, tasks, tested_on
        self._options, self._sealed = options, sealed
        if sealed and any(task.validation is None for task in tested_on.tasks):
            raise HypermnesiaError(
                "a sealed run needs validation parts: set stream.validation, for example to 0.1"
            )
        check_inference(learner)
        self._applicable = names = applicable(learner, tested_on)
        for name in options.scenarios or ():
            if name not in names:
                raise HypermnesiaError(
                    f"evaluate.scenarios: {name} does not apply to {tested_on.name} with this head; "
                    f"there are: {', '.join(names)}"
                )

    def untrained(self) -> Measured | None:
        """Accuracies of the untrained network, which forward transfer is measured against; None where there are none."""
        without_guess = {"task"} if self._learner.model.depends_on_task else {"task", "domain"}
        names = [name for name in self._applicable if name in without_guess]
        if self._sealed or not names:
            return None
        learner = replace(self._learner, task=-1, method=None)
        found = evaluate(learner, self._tested_on, self._options, scenarios=names)
        return Measured(found.scenarios, None)

    def due(self, step: int) -> bool:
        """Whether there is an evaluation after `step` steps of a task."""
        return self._options.steps is not None and step % self._options.steps == 0

    def on_the_way(self) -> Measured:
        """Within the learner's task, where it is due."""
        found = self._measure(self._scenarios(last=False), validation=self._sealed)
        return Measured({}, found.scenarios) if self._sealed else Measured(found.scenarios, None)

    def task_ended(self) -> Measured | None:
        """At the end of the learner's task, where it is due."""
        index = self._learner.task
        last = index + 1 == self._tasks
        if self._options.every != "task" and not last:
            return None
        scenarios = self._scenarios(last)
        validates = all(task.validation is not None for task in self._tested_on.tasks)
        checked = self._measure(scenarios, validation=True) if validates else None
        found = Evaluation({}) if self._sealed else self._measure(scenarios)
        return Measured(
            found.scenarios, checked.scenarios if checked else None, found.confusion, found.errors
        )

    def _scenarios(self, last: bool) -> tuple[str, ...]:
        chosen = self._options.scenarios
        many = self._learner.model.depends_on_task and self._tasks > MANY_TASKS
        if chosen is None and many and not last:
            return tuple(name for name in self._applicable if name == "task")
        return tuple(chosen) if chosen is not None else self._applicable

    def _measure(self, scenarios: Sequence[str], validation: bool = False) -> Evaluation:
        parts = None
        if validation:
            parts = [task.validation for task in self._tested_on.tasks if task.validation is not None]
        return evaluate(self._learner, self._tested_on, self._options, parts, scenarios)
