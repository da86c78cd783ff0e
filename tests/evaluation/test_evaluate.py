"""Accuracies in the three scenarios, against loops over single samples."""

from dataclasses import replace
from typing import Any

import pytest
import small
import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data import Preprocess, Stream, slots, with_validation
from hypermnesia.evaluation import evaluate as evaluation
from hypermnesia.evaluation.evaluate import EvaluateOptions, Evaluation, applicable, evaluate
from hypermnesia.evaluation.infer import Entropy
from hypermnesia.methods.base import Method
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.options import Kind, of_kind

by_task = evaluation.tests_are_tasks  # under its own name pytest would take it for a test
STREAMS = ("split", "permuted", "repeated", "uneven")


def stream_of(name: str) -> Stream:
    preprocess = Preprocess((0.5,), (0.5,))
    if name == "permuted":
        return small.permuted_stream()
    if name == "repeated":
        return slots(small.source(4, 12), tasks=3, classes_per_task=3, preprocess=preprocess)
    if name == "uneven":
        stream = small.split_stream()
        first, second, third = stream.tasks
        classes = (*first.classes, *second.classes)
        return replace(stream, tasks=(replace(first, classes=classes), third), tests=(first.test, third.test))
    return small.split_stream()


def learner_of(
    stream: Stream, weights: Kind = "hyper", head: Any = "auto", task: int | None = None
) -> Learner:
    """A learner after `task` (default: the last but one); its tasks' weights are all different."""
    task = len(stream.tasks) - 2 if task is None else task
    model = small.grown(small.model(stream, of_kind(weights, head=head)), max(task, 0) + 1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.is_meta:
                p.add_(0.5 * torch.randn(p.shape, generator=generator(0, name)))
    classes = tuple(t.classes for t in stream.tasks)
    sizes = (stream.shape, stream.num_classes, classes)
    return Learner({"main": model}, stream.preprocess, *sizes, inference=Entropy(), task=task)


def found(
    learner: Learner, stream: Stream, method: Method | None = None, state: Any = None, **options: Any
) -> Evaluation:
    chosen = EvaluateOptions(**options)
    return evaluate(replace(learner, method=method, state=state), stream, chosen)


# --------------------------------------------------------------------------------------------------- the slow twin


def answer_given(learner: Learner, stream: Stream, i: int, x: Tensor) -> int:
    """The class among those of task i that the weights of task i say (of the latest one for tasks to come)."""
    model, weights = learner.model, min(i, max(learner.task, 0))
    assert model.head is not None
    outputs = model.call(model.overlay(weights), x[None], i)[0]
    scores = {
        c: float(outputs[int(model.head.targets(torch.tensor([c]), i))]) for c in stream.tasks[i].classes
    }
    return max(scores, key=lambda c: scores[c])


def guess_of(learner: Learner, x: Tensor) -> tuple[int, int]:
    """(task of least entropy, position of its answer), by the definition of entropy."""
    best: tuple[float, int, int] | None = None
    for task in range(learner.task + 1):
        p = learner.model(x[None], task)[0].softmax(0)
        entropy = float(-sum(float(q) * float(q.log()) for q in p))
        if best is None or entropy < best[0]:
            best = entropy, task, int(p.argmax())
    assert best is not None
    return best[1], best[2]


def slow(learner: Learner, stream: Stream, i: int) -> dict[str, float | None]:
    """Accuracy on test part i in every scenario, sample by sample."""
    model, shared = learner.model, stream.shared_labels
    assert model.head is not None
    hits: dict[str, list[bool]] = {"task": [], "class": [], "domain": []}
    for position in range(len(stream.tests[i])):
        raw, label = stream.tests[i].batch(torch.tensor([position]))
        x, y = learner.preprocess(raw, None)[0], int(label)
        if by_task(stream):
            hits["task"].append(answer_given(learner, stream, i, x) == y)
        if not model.depends_on_task:
            scores = model(x[None], max(learner.task, 0))[0]
            seen = stream.tasks[i].classes if shared else learner.seen_classes
            answer = max(seen, key=lambda c: float(scores[c]))
            hits["class"].append(answer == y)
            hits["domain"].append(answer == y)
        elif i <= learner.task or not by_task(stream):
            guess, local = guess_of(learner, x)
            answer = model.head.outputs(guess)[local]
            hits["class"].append(answer == y and (guess == i or not shared))
            own = model.head.targets(label, i) if by_task(stream) else label
            hits["domain"].append(answer == y if shared else local == int(own))
    known = set(stream.tasks[i].classes) <= set(learner.seen_classes) if by_task(stream) else True
    if not known:
        hits["class"] = []
    return {name: sum(h) / len(h) if h else None for name, h in hits.items()}


CASES = [(s, w, h) for s in STREAMS for w, h in [("plain", "shared"), ("plain", "per_task")]]
CASES += [(s, "hyper", h) for s in STREAMS for h in ("shared", "sliced", "per_task")]
CASES += [("split", "mask", "per_task"), ("split", "partial", "per_task"), ("permuted", "lora", "shared")]


@pytest.mark.parametrize(("name", "weights", "head"), CASES)
@torch.no_grad()
def test_every_scenario_against_a_loop_over_samples(name: str, weights: Kind, head: Any) -> None:
    stream = stream_of(name)
    for task in range(len(stream.tasks)):
        learner = learner_of(stream, weights, head, task)
        rows = found(learner, stream, batch_size=7).scenarios
        assert set(rows) == set(applicable(learner, stream))
        for i in range(len(stream.tests)):
            expected = slow(learner, stream, i)
            for scenario, row in rows.items():
                assert row[i] == pytest.approx(expected[scenario]), (scenario, task, i)


# ---------------------------------------------------------------------------------------------- which scenarios apply


@pytest.mark.parametrize(
    ("name", "weights", "head", "expected"),
    [
        ("split", "plain", "shared", "task class"),
        ("split", "plain", "per_task", "task class domain"),
        ("split", "hyper", "shared", "task class"),
        ("split", "hyper", "sliced", "task class domain"),
        ("split", "hyper", "per_task", "task class domain"),
        ("uneven", "hyper", "per_task", "task class"),
        ("permuted", "plain", "shared", "task domain"),
        ("permuted", "plain", "per_task", "task class domain"),
        ("permuted", "hyper", "shared", "task domain"),
        ("permuted", "hyper", "sliced", "task class domain"),
        ("permuted", "hyper", "per_task", "task class domain"),
        ("repeated", "plain", "shared", "class"),
        ("repeated", "hyper", "per_task", "class"),
    ],
)
def test_streams_and_heads(name: str, weights: Kind, head: Any, expected: str) -> None:
    stream = stream_of(name)
    assert " ".join(applicable(learner_of(stream, weights, head), stream)) == expected


def test_one_task_alone_has_no_class_scenario() -> None:
    stream = small.split_stream(tasks=1)
    assert applicable(learner_of(stream, "plain", task=0), stream) == ("task",)


@pytest.mark.parametrize("weights", ["plain", "hyper"])
@torch.no_grad()
def test_joint_training_is_tested_task_by_task(weights: Kind) -> None:
    stream = small.split_stream()
    learner = learner_of(stream.joined(), weights, task=0)
    rows = found(learner, stream).scenarios
    assert set(rows) == {"task", "class"}
    for i, part in enumerate(stream.tests):
        raw, y = part.batch(torch.arange(len(part)))
        logits = learner.model(learner.preprocess(raw, None), 0)
        own = list(stream.tasks[i].classes)
        assert rows["class"][i] == pytest.approx(float((logits.argmax(1) == y).double().mean()))
        within = torch.tensor(own)[logits[:, own].argmax(1)]
        assert rows["task"][i] == pytest.approx(float((within == y).double().mean()))


# ------------------------------------------------------------------------------------------------------ other tasks


@pytest.mark.parametrize("weights", ["plain", "hyper"])
def test_tasks_to_come(weights: Kind) -> None:
    """With the task given they are answered by the latest weights; otherwise they are absent."""
    stream = small.split_stream()
    rows = found(learner_of(stream, weights, "per_task", task=0), stream).scenarios
    assert None not in rows["task"]
    assert rows["class"][0] is not None and rows["class"][1:] == [None, None]
    assert rows["domain"][0] is not None and rows["domain"][1:] == [None, None]


def test_the_untrained_network() -> None:
    stream = small.split_stream()
    for weights in ("plain", "hyper"):
        learner = learner_of(stream, weights, task=-1)
        rows = evaluate(learner, stream, EvaluateOptions(), scenarios=("task",)).scenarios
        assert None not in rows["task"]
        assert rows["task"] == found(replace(learner, task=0), stream).scenarios["task"]


@torch.no_grad()
def test_validation_parts_belong_to_tasks_even_where_tests_do_not() -> None:
    stream = with_validation(stream_of("repeated"), 0.3, 0)
    learner = learner_of(stream, "plain", task=0)
    parts = [task.validation for task in stream.tasks if task.validation is not None]
    rows = evaluate(learner, stream, EvaluateOptions(), parts=parts, scenarios=("class",)).scenarios["class"]
    assert len(rows) == 3 != len(stream.tests)
    known = [set(task.classes) <= set(stream.tasks[0].classes) for task in stream.tasks]
    assert [value is not None for value in rows] == known
    raw, y = parts[0].batch(torch.arange(len(parts[0])))
    logits = learner.model(learner.preprocess(raw, None), 0)[:, list(stream.tasks[0].classes)]
    answers = torch.tensor(stream.tasks[0].classes)[logits.argmax(1)]
    assert rows[0] == pytest.approx(float((answers == y).double().mean()))


def test_a_part_without_samples_is_absent() -> None:
    stream = small.split_stream()
    for weights in ("plain", "hyper"):
        learner = learner_of(stream, weights, task=2)
        empty = stream.tests[1].subset(torch.arange(0))
        parts = [stream.tests[0], empty, stream.tests[2]]
        rows = evaluate(learner, stream, EvaluateOptions(), parts=parts)
        assert all(row[1] is None and row[0] is not None for row in rows.scenarios.values())


# --------------------------------------------------------------------------------------------- confusion and options


@torch.no_grad()
def test_confusion_says_which_task_was_taken() -> None:
    stream = small.split_stream()
    learner = learner_of(stream, "hyper", "per_task", task=2)
    confusion = found(learner, stream).confusion
    assert confusion is not None
    for i, part in enumerate(stream.tests):
        raw, _ = part.batch(torch.arange(len(part)))
        guesses = [guess_of(learner, x)[0] for x in learner.preprocess(raw, None)]
        expected = [guesses.count(task) / len(guesses) for task in range(3)]
        assert confusion[i] == pytest.approx(expected)
    assert found(learner_of(stream, "plain"), stream).confusion is None


@torch.no_grad()
def test_a_test_part_without_samples_keeps_its_row_of_the_confusion() -> None:
    stream = small.split_stream()
    empty = replace(stream.tasks[0], test=stream.tasks[0].test.subset(torch.arange(0)))
    tasks = (empty, *stream.tasks[1:])
    gone = replace(stream, tasks=tasks, tests=tuple(task.test for task in tasks))
    learner = learner_of(stream, "hyper", "per_task", task=2)
    whole, rest = found(learner, stream).confusion, found(learner, gone).confusion
    assert whole is not None and rest == [[None] * 3, *whole[1:]]


def test_fewer_samples_are_a_fixed_choice() -> None:
    stream = small.split_stream()
    learner = learner_of(stream, "hyper", task=2)
    some = [found(learner, stream, samples=4).scenarios for _ in range(2)]
    assert some[0] == some[1]
    assert all(round(4 * v, 9).is_integer() for row in some[0].values() for v in row if v is not None)
    assert found(learner, stream, samples=1000).scenarios == found(learner, stream).scenarios


@pytest.mark.parametrize("weights", ["plain", "hyper", "mask"])
def test_batches_change_nothing(weights: Kind) -> None:
    stream = small.split_stream()
    learner = learner_of(stream, weights, task=2)
    assert found(learner, stream, batch_size=1).scenarios == found(learner, stream).scenarios


def test_the_mode_is_given_back_and_nothing_is_tracked() -> None:
    stream = small.split_stream()
    learner = learner_of(stream, "hyper", task=2)

    class Asking(Finetune):
        def scores(self, state: Any, learner: Learner, x: Tensor, task: int) -> Tensor | None:
            assert not learner.model.training
            assert not torch.is_grad_enabled()
            return None

    for training in (True, False):
        learner.model.train(training)
        found(learner, stream, Asking())
        assert learner.model.training == training
    assert torch.is_grad_enabled()


def test_a_method_may_answer_by_scores_of_its_own() -> None:
    class Backwards(Finetune):
        """Says the opposite of what the network says."""

        def scores(self, state: Any, learner: Learner, x: Tensor, task: int) -> Tensor | None:
            return -learner.model(x, task)

    stream = small.split_stream()
    for weights, head in (("plain", "shared"), ("hyper", "per_task")):
        learner = learner_of(stream, weights, head, task=2)  # pyright: ignore[reportArgumentType]
        plain = found(learner, stream).scenarios["task"]
        opposite = found(learner, stream, Backwards()).scenarios["task"]
        assert [a + b for a, b in zip(plain, opposite, strict=True) if a is not None and b is not None] == [
            pytest.approx(1.0)
        ] * 3


def test_only_the_asked_scenarios() -> None:
    stream = small.split_stream()
    learner = learner_of(stream, "hyper", task=2)
    chosen = EvaluateOptions()
    rows = evaluate(learner, stream, chosen, scenarios=("class",))
    assert list(rows.scenarios) == ["class"]


@pytest.mark.parametrize(
    ("options", "text"),
    [({"scenarios": ("task", "taks")}, "evaluate.scenarios: 'taks' is not one of task, class, domain")],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        EvaluateOptions(**options)
