"""Features under a task's weights."""

import torch
from evaluation.infer.inference_helpers import overlays, slow_features, some_inputs, three_tasks
from methods.regularisation_helpers import make_task

from hypermnesia.evaluation.infer.base import by_class, features


def test_features_are_what_the_classifier_of_that_task_sees() -> None:
    learner = three_tasks()
    x = some_inputs(learner)
    for task, overlay in enumerate(overlays(learner)):
        found, logits = features(learner.model, overlay, x, task)
        torch.testing.assert_close(found, slow_features(learner, x, task))
        torch.testing.assert_close(logits, learner.model(x, task))


def test_training_samples_come_class_by_class_in_evaluation_mode() -> None:
    learner, task = three_tasks(), make_task(1)
    learner.model.train()
    groups = by_class(learner, task)
    assert learner.model.training and [group.local for group in groups] == [0, 1]
    for group, label in zip(groups, task.classes, strict=True):
        raw = task.train.batch(torch.arange(len(task.train)))[0][task.train.y == label]
        expected = slow_features(learner, learner.preprocess(raw, None), 1)
        torch.testing.assert_close(group.features, expected)
        assert not group.features.requires_grad
