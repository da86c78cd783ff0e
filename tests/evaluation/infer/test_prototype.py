"""Prototypes: nearest normalised class mean, over all tasks."""

import pytest
import torch
import torch.nn.functional as F
from evaluation.infer.inference_helpers import finished, overlays, slow_features, some_inputs, three_tasks
from methods.regularisation_helpers import make_task

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.infer import Prototype


@pytest.mark.parametrize("mode", ["class", "task"])
def test_the_nearest_mean_of_all_tasks_is_found(mode: str) -> None:
    learner, inference = three_tasks(), Prototype(mode=mode)  # pyright: ignore[reportArgumentType]
    state, x = finished(inference, learner), some_inputs(learner)
    found = inference.scores(state, learner, overlays(learner), x)
    for i in range(len(x)):
        distances = {}
        for task in range(3):
            part = make_task(task).train
            images = learner.preprocess(part.batch(torch.arange(len(part)))[0], None)
            everything = F.normalize(slow_features(learner, images, task))
            z = F.normalize(slow_features(learner, x[i : i + 1], task))[0]
            for local, label in enumerate(make_task(task).classes):
                mean = everything[part.y == label].mean(0)
                distances[task, local] = float((z - mean / mean.norm()).norm().detach())
        task, local = min(distances, key=distances.__getitem__)
        if mode == "task":
            local = int(learner.model(x[i : i + 1], task).argmax())
        assert (int(found.guess[i]), int(found.local[i])) == (task, local)


def test_within_a_task_only_finished_ones_are_guessed() -> None:
    learner, inference = three_tasks(), Prototype()
    x = some_inputs(learner)
    halfway = inference.scores(finished(inference, learner, tasks=2), learner, overlays(learner), x)
    assert int(halfway.guess.max()) <= 1
    start = inference.scores(inference.init(learner), learner, overlays(learner, 1), x)
    assert start.guess.tolist() == [0] * len(x)


def test_a_bad_mode_says_what_exists() -> None:
    with pytest.raises(HypermnesiaError, match=r"unknown prototype\.mode 'both'; known: class, task"):
        Prototype(mode="both")  # pyright: ignore[reportArgumentType]
