"""Prototypes: nearest normalised class mean, over all tasks."""

import pytest
import torch
import torch.nn.functional as F
from evaluation.infer.inference_helpers import assert_nearest, slow_features, three_tasks
from methods.regularisation_helpers import make_task
from torch import Tensor

from hypermnesia.evaluation.infer import Prototype


@pytest.mark.parametrize("mode", ["class", "task"])
def test_the_nearest_mean_of_all_tasks_is_found(mode: str) -> None:
    learner = three_tasks()

    def distance(x: Tensor, task: int, label: int) -> float:
        part = make_task(task).train
        images = learner.preprocess(part.batch(torch.arange(len(part)))[0], None)
        mean = F.normalize(slow_features(learner, images, task))[part.y == label].mean(0)
        z = F.normalize(slow_features(learner, x, task))[0]
        return float((z - mean / mean.norm()).norm().detach())

    assert_nearest(learner, Prototype(mode=mode), distance)  # pyright: ignore[reportArgumentType]
