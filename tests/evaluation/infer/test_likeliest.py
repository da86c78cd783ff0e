"""The answer is the likeliest class, whichever way the task is inferred."""

from dataclasses import replace
from typing import Any

import pytest
import small
import torch
from evaluation.infer.inference_helpers import finished, three_tasks
from methods.regularisation_helpers import make_task
from torch import nn

from hypermnesia.evaluation.infer import INFERENCES, TIR, Entropy, FeCAM, Prototype, RidgeInference
from hypermnesia.methods.learner import Answer, Learner
from hypermnesia.weights.model import Model
from hypermnesia.weights.options import LoRA

RULES: dict[str, Any] = {
    **{name: kind() for name, kind in INFERENCES.items()},
    "entropy, calibrated": Entropy(calibrate=True),
    "fecam, task only": FeCAM(mode="task"),
    "prototype, task only": Prototype(mode="task"),
    "ridge, class": RidgeInference(mode="class"),
}


def answered(inference: Any) -> tuple[Learner, Answer]:
    if isinstance(inference, RidgeInference):  # which looks through a network at rest
        run = small.run(weights=LoRA(written="stored"), inference=inference)
        small.all_of([run])
        raw = torch.cat([task.train.batch(torch.arange(10))[0] for task in run.stream.tasks])
        return run.learner, run.learner.answer(raw)
    learner = three_tasks()
    if isinstance(inference, TIR):
        learner.models["inference"] = Model(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), None)
    learner = replace(learner, inference=inference, inference_state=finished(inference, learner))
    raw = torch.cat([make_task(task).train.batch(torch.arange(10))[0] for task in range(3)])
    return learner, learner.answer(raw)


@pytest.mark.parametrize("rule", RULES)
def test_the_answer_is_the_likeliest_class(rule: str) -> None:
    learner, found = answered(RULES[rule])
    assert found.tasks is not None
    shares = found.scores.softmax(1)
    own = shares.gather(1, found.classes[:, None])[:, 0]
    assert torch.equal(own, shares.amax(1)) and torch.isfinite(own).all()
    tasks = zip(found.classes.tolist(), found.tasks.tolist(), strict=True)
    assert all(c in learner.classes[task] for c, task in tasks)


@pytest.mark.parametrize(
    ("rule", "other"),
    [("fecam", "fecam, task only"), ("prototype", "prototype, task only"), ("ridge, class", "ridge")],
)
def test_distances_rank_the_classes_of_all_tasks(rule: str, other: str) -> None:
    _, found = answered(RULES[rule])
    assert torch.isfinite(found.scores).all()
    _, only = answered(RULES[other])
    assert (torch.isfinite(only.scores).sum(1) == 2).all()
