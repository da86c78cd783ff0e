"""What a learner answers, held against each sample by itself and the network of one task."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from methods.helpers import UNEVEN, make_batch, make_learner
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.evaluation.infer import Entropy
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Learner, TaskScores
from hypermnesia.weights.model import evaluating


def learned(**options: Any) -> Learner:
    """After three tasks whose networks differ, unless they share their weights."""
    return replace(
        make_learner(task=2, **options), method=Finetune(), inference=Entropy(), inference_state=None
    )


def samples(learner: Learner) -> Tensor:
    return torch.cat([make_batch(learner, task=task).raw for task in range(3)])


@torch.no_grad()
def logits(learner: Learner, sample: Tensor, task: int) -> Tensor:
    """(outputs,) of one sample (…)."""
    with evaluating(learner.model):
        return learner.model(learner.preprocess(sample[None], None), task)[0]


def slow(learner: Learner, sample: Tensor, task: int, classes: tuple[int, ...]) -> Tensor:
    """(classes of the stream,) scores of one sample, class by class."""
    row, outputs = logits(learner, sample, task), learner.model.head.outputs(task)  # pyright: ignore
    scores = torch.full((learner.num_classes,), -torch.inf)
    for c in classes:
        scores[c] = row[outputs.index(c)]
    return scores


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"head": "sliced"}])
def test_the_task_is_given(setting: dict) -> None:
    learner = learned(**setting)
    raw = samples(learner)
    for task in range(3):
        found = learner.answer(raw, task)
        expected = [slow(learner, sample, task, learner.classes[task]) for sample in raw]
        torch.testing.assert_close(found.scores, torch.stack(expected))
        assert found.classes.tolist() == [int(row.argmax()) for row in expected]
        assert found.tasks is not None and found.tasks.tolist() == [task] * len(raw)


def test_one_network_for_all_looks_in_all_classes_seen() -> None:
    learner = make_learner(task=1)
    found = learner.answer(samples(learner))
    expected = [slow(learner, sample, 1, (0, 1, 2, 3)) for sample in samples(learner)]
    torch.testing.assert_close(found.scores, torch.stack(expected))
    assert found.classes.tolist() == [int(row.argmax()) for row in expected] and found.tasks is None


@pytest.mark.parametrize("setting", [{"head": "per_task", "classes": UNEVEN}, {"head": "sliced"}])
def test_an_inferred_task_answers_by_its_own_weights(setting: dict) -> None:
    class Turning:
        """Takes the samples in turn for each of the tasks, and says the second of its classes, if it has one."""

        def scores(self, state: Any, learner: Learner, overlays: list[Tensors], x: Tensor) -> TaskScores:
            guess = torch.arange(len(x)) % 3
            widths = torch.tensor([len(classes) for classes in learner.classes])
            local, own = (widths[guess] - 1).clamp(max=1), []
            for task in range(3):
                logits = learner.scores(x, task, overlays[task]).clone()
                logits[torch.arange(len(x)), local.clamp(max=logits.shape[1] - 1)] = 99.0
                own.append(logits)
            return TaskScores(guess, local, tuple(own))

    learner = learned(**setting)
    learner.inference = Turning()  # pyright: ignore[reportAttributeAccessIssue]
    raw = samples(learner)
    found = learner.answer(raw)
    tasks = [i % 3 for i in range(len(raw))]
    assert found.tasks is not None and found.tasks.tolist() == tasks
    assert found.classes.tolist() == [learner.classes[t][:2][-1] for t in tasks]
    expected = torch.stack([slow(learner, x, t, learner.classes[t]) for x, t in zip(raw, tasks, strict=True)])
    expected[torch.arange(len(raw)), found.classes] = 99.0
    torch.testing.assert_close(found.scores, expected)


def test_a_method_may_answer_by_scores_of_its_own() -> None:
    class Last(Finetune):
        def scores(self, state: Any, learner: Learner, x: Tensor, task: int) -> Tensor:
            return torch.arange(6.0).expand(len(x), 6)

    learner = learned()
    learner.method = Last()
    assert learner.answer(samples(learner)).classes.unique().tolist() == [5]
    assert learner.answer(samples(learner), 0).classes.unique().tolist() == [1]
    assert learner.answer(samples(learner), 0, classes=(2, 0)).classes.unique().tolist() == [2]


def test_many_samples_are_answered_alike_and_no_mode_is_left_changed() -> None:
    learner = learned(head="per_task")
    raw = samples(learner)
    few, many = learner.answer(raw), learner.answer(raw.repeat(20, 1, 1, 1))
    assert learner.model.training
    torch.testing.assert_close(many.scores[-len(raw) :], few.scores)
    assert many.classes[: len(raw)].tolist() == few.classes.tolist()


def test_a_task_that_was_not_learned() -> None:
    learner = make_learner(task=1)
    for task in (-1, 2):
        with pytest.raises(HypermnesiaError, match=f"there is no task {task}: the learner has tasks 0 to 1"):
            learner.answer(samples(learner), task)
