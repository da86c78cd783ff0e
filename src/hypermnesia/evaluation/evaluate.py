"""Accuracy of a learner in the three scenarios: task given, class and domain with the task unknown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from hypermnesia.core.declared import Count, check_options
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.core.waiting import counted
from hypermnesia.data import Part, Stream
from hypermnesia.evaluation.records import Row
from hypermnesia.evaluation.regression import mean_absolute_error, r_squared
from hypermnesia.methods.learner import Learner, TaskScores
from hypermnesia.weights.model import evaluating

SCENARIOS = ("task", "class", "domain")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """When and on what a learner is evaluated."""

    every: Literal["task", "end"] = "task"
    """After every task, or after the last one only."""
    steps: Count | None = None
    """Additionally every so many steps within a task (for anytime metrics); none = never."""
    samples: Count | None = None
    """At most so many test samples per test part (a fixed seeded choice); none = all."""
    scenarios: tuple[str, ...] | None = None
    """Of task, class, domain; none = whichever apply. Inferring the task after every task costs the square of the
    number of tasks, so beyond ten tasks class and domain are then measured after the last task only."""
    batch_size: Count = 1000
    """Samples per forward pass; changes no result beyond rounding."""

    def __post_init__(self) -> None:
        check_options(self, "evaluate")
        for name in self.scenarios or ():
            if name not in SCENARIOS:
                raise HypermnesiaError(f"evaluate.scenarios: {name!r} is not one of {', '.join(SCENARIOS)}")


@dataclass(frozen=True)
class Evaluation:
    """Accuracies after some task, one per test part, by scenario."""

    scenarios: dict[str, Row]
    confusion: list[Row] | None = field(default=None)
    """(tests, tasks) share of each test part's samples that were taken for each task, where the task was inferred; None for a
    test part without samples."""
    errors: Row | None = None
    """Of numbers: the mean absolute error on each test part, in the target's own units; `scenarios` then hold R²."""


def applicable(learner: Learner, stream: Stream) -> tuple[str, ...]:
    """The scenarios that mean something for the tested stream and the learner's head; see docs/scenarios.md."""
    if stream.target is not None:  # whose the weights are is not inferred
        return ("task",) if learner.model.depends_on_task else ("task", "domain")
    found, by_task, several = [], tests_are_tasks(stream), len(stream.tasks) > 1
    if by_task:
        found.append("task")
    head = learner.model.head
    local = head is not None and head.kind != "shared" and len(learner.classes) > 1  # joint: only one
    if several and (not stream.shared_labels or local):
        found.append("class")
    equal = len({len(t.classes) for t in stream.tasks}) == 1
    if stream.shared_labels or (local and equal and by_task and several):
        found.append("domain")
    return tuple(found)


def tests_are_tasks(stream: Stream) -> bool:
    """Whether test part i belongs to task i (streams with repetition test per class instead)."""
    return len(stream.tests) == len(stream.tasks) and all(
        part is task.test for part, task in zip(stream.tests, stream.tasks, strict=True)
    )


def evaluate(
    learner: Learner,
    stream: Stream,
    options: EvaluateOptions,
    parts: Sequence[Part] | None = None,
    scenarios: Sequence[str] | None = None,
) -> Evaluation:
    """Evaluate after `learner.task`, on the stream's test parts or on `parts` (one per task of the stream).

    Task scenario: part i with the weights of task i (of the latest task where i is still to come, as forward
    transfer asks). Class scenario: global class ids, the task inferred or the head shared. Domain scenario: the
    class within the task. Entries of tasks still to come are None where the task is unknown.
    """
    tests = parts if parts is not None else stream.tests
    by_task = parts is not None or tests_are_tasks(stream)
    names = tuple(scenarios) if scenarios is not None else applicable(learner, stream)
    with torch.no_grad(), evaluating(learner.model):
        if stream.target is not None:
            return _numbers(learner, tests, options, names)
        if not learner.model.depends_on_task:
            return _shared(learner, stream, tests, by_task, options, names)
        return _task_specific(learner, stream, tests, by_task, options, names)


def batches(
    part: Part, learner: Learner, options: EvaluateOptions
) -> list[Callable[[], tuple[Tensor, Tensor]]]:
    """The part's batches as functions → (x, y), so that only one lies in memory at a time."""
    positions = torch.arange(len(part))
    if options.samples is not None and options.samples < len(part):
        positions = (
            torch.randperm(len(part), generator=generator(0, "evaluate"))[: options.samples].sort().values
        )

    def load(chosen: Tensor) -> tuple[Tensor, Tensor]:
        raw, y = part.batch(chosen)
        return learner.preprocess(raw, None), y

    return [lambda c=chosen: load(c) for chosen in positions.split(options.batch_size)]


def _numbers(
    learner: Learner, tests: Sequence[Part], options: EvaluateOptions, names: Sequence[str]
) -> Evaluation:
    """R² and error where numbers are told: part i with the weights of task i, of the latest where i is still to come."""
    assert learner.target is not None
    latest, overlays = max(learner.task, 0), learner.overlays()
    scores: Row = []
    errors: Row = []
    for i, part in enumerate(counted(tests, "evaluating tests")):
        owner = i if len(learner.classes) > 1 else 0  # joint training knows one task, whatever is tested
        overlay, pairs = overlays[min(owner, latest)], [load() for load in batches(part, learner, options)]
        told = torch.cat([learner.model.call(overlay, x, owner)[:, 0] for x, _ in pairs])
        y = torch.cat([own for _, own in pairs])
        error = mean_absolute_error(told, y)
        scores.append(r_squared(told, y))
        errors.append(None if error is None else error * learner.target.std)
    return Evaluation({name: list(scores) for name in names}, errors=errors)


def _mean(hits: list[Tensor]) -> float | None:
    """The share of hits; None where there is no sample."""
    return float(torch.cat(hits).double().mean()) if sum(map(len, hits)) else None


def _shared(
    learner: Learner,
    stream: Stream,
    tests: Sequence[Part],
    by_task: bool,
    options: EvaluateOptions,
    names: Sequence[str],
) -> Evaluation:
    """One network for all tasks: the scenarios differ only in which outputs take part in the argmax."""
    known = set(learner.seen_classes)
    seen = _mask(learner.seen_classes, learner)
    rows: dict[str, Row] = {name: [] for name in names}
    blind = by_task and bool(known) and learner.method is not None and not learner.method.answers_ahead
    for i, part in enumerate(counted(tests, "evaluating tests")):
        if blind and known.isdisjoint(stream.tasks[i].classes):
            for name in names:
                rows[name].append(None)
            continue
        hits: dict[str, list[Tensor]] = {name: [] for name in names}
        own = _mask(stream.tasks[i].classes, learner) if by_task else seen
        for load in batches(part, learner, options):
            x, y = load()
            scores = learner.scores(x, max(learner.task, 0))
            for name in names:
                mask = own if name == "task" or stream.shared_labels else seen
                hits[name].append((scores + mask).argmax(1) == y)
        for name in names:
            unknown = name == "class" and by_task and not known.issuperset(stream.tasks[i].classes)
            rows[name].append(None if unknown else _mean(hits[name]))
    return Evaluation(rows)


def _mask(classes: Sequence[int], learner: Learner) -> Tensor:
    """What added to scores leaves those of `classes` alone: 0 there, −∞ elsewhere."""
    return torch.where(learner.mask(classes), 0.0, -torch.inf)


def _task_specific(
    learner: Learner,
    stream: Stream,
    tests: Sequence[Part],
    by_task: bool,
    options: EvaluateOptions,
    names: Sequence[str],
) -> Evaluation:
    """Weights that differ by task: with the task given they are known, otherwise the inference names it."""
    infers = learner.task >= 0 and bool({"class", "domain"} & set(names))
    rows: dict[str, Row] = {name: [] for name in names}
    confusion: list[Row] = []
    latest, overlays = max(learner.task, 0), learner.overlays()
    for i, part in enumerate(counted(tests, "evaluating tests")):
        hits: dict[str, list[Tensor]] = {name: [] for name in names}
        guesses = []
        owner = i if len(learner.classes) > 1 else 0  # joint training knows one task, whatever is tested
        for load in batches(part, learner, options):
            x, y = load()
            if "task" in names:
                given = min(owner, latest)
                given_task = _task_given(learner, overlays[given], x, owner, given)
                hits["task"].append(given_task(stream.tasks[i].classes) == y)
            if infers and (not by_task or owner <= learner.task):
                assert learner.inference is not None
                scores = learner.inference.scores(learner.inference_state, learner, overlays, x)
                guesses.append(scores.guess)
                _unknown_task(learner, scores, y, owner if by_task else None, hits)
        for name in names:
            rows[name].append(_mean(hits[name]))
        if guesses:
            counts = torch.bincount(torch.cat(guesses), minlength=learner.task + 1)
            some = bool(counts.any())  # an earlier task may be without samples: its row stays in its place
            confusion.append((counts / counts.sum()).tolist() if some else [None] * len(counts))
    return Evaluation(rows, confusion if any(row[0] is not None for row in confusion) else None)


def _task_given(
    learner: Learner, overlay: Tensors, x: Tensor, task: int, weights_of: int
) -> Callable[[Sequence[int]], Tensor]:
    """The answers (B,) to `x` of the task's outputs, as a function of the classes that are allowed."""
    own = weights_of == task
    scores = learner.scores(x, task, overlay) if own else learner.model.call(overlay, x, task)
    head = learner.model.head
    assert head is not None

    def answer(classes: Sequence[int]) -> Tensor:
        allowed = torch.tensor(classes, device=x.device)
        return allowed[scores[:, head.targets(allowed, task)].argmax(1)]

    return answer


def _unknown_task(
    learner: Learner, scores: TaskScores, y: Tensor, test: int | None, hits: dict[str, list[Tensor]]
) -> None:
    """Class: the right class (and, where tasks share labels, the right task). Domain: the right class in its task."""
    head = learner.model.head
    assert head is not None
    outputs = [torch.tensor(head.outputs(t), device=y.device) for t in range(learner.task + 1)]
    guess, local = scores.guess, scores.local
    width = max(len(o) for o in outputs)
    table = torch.stack([torch.nn.functional.pad(o, (0, width - len(o)), value=-1) for o in outputs])
    predicted = table[guess, local]
    shared_labels = len(set(map(frozenset, learner.classes))) == 1
    if "class" in hits:
        right = predicted == y
        hits["class"].append(right & (guess == test) if shared_labels and test is not None else right)
    if "domain" in hits and test is not None:
        within = predicted == y if shared_labels else local == head.targets(y, test)
        hits["domain"].append(within)
