"""FeCAM: numerics against golden values and numpy, answers against distances written out."""

import math

import numpy as np
import pytest
import torch
from evaluation.infer.inference_helpers import assert_nearest, finished, slow_features, three_tasks
from methods.regularisation_helpers import make_task, move
from torch import Tensor

from hypermnesia.evaluation.infer import FeCAM
from hypermnesia.evaluation.infer.fecam import covariance, normalised, precision, shrunk
from hypermnesia.methods.learner import Learner


def slow_statistics(learner: Learner, task: int, label: int, shrink: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, precision) of one class in float64."""
    part = make_task(task).train
    raw = part.batch(torch.arange(len(part)))[0][part.y == label]
    z = slow_features(learner, learner.preprocess(raw, None), task).detach().double().numpy()
    s = np.cov(z, rowvar=False)
    for _ in range(shrink):
        beside = s[~np.eye(len(s), dtype=bool)]
        d = np.diag(s).mean()
        s = s + np.where(np.eye(len(s), dtype=bool), d, beside[beside != 0].mean())
    s = s / np.sqrt(np.outer(np.diag(s), np.diag(s)))
    mean = z.mean(0)
    return mean / np.linalg.norm(mean), np.linalg.pinv(s + 1e-8)


def test_golden_covariance_of_the_reference() -> None:
    s = normalised(shrunk(torch.tensor([[2.0, 1.0], [1.0, 4.0]]), 2))
    expected = torch.tensor([[1.0, 4 / math.sqrt(143)], [4 / math.sqrt(143), 1.0]])
    torch.testing.assert_close(s, expected)


def test_covariances_that_are_0_do_not_count_in_their_mean() -> None:
    s = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    s[0, 1] = s[1, 0] = 0.5
    expected = s + 2 * torch.eye(3) + 0.5 * (1 - torch.eye(3))
    torch.testing.assert_close(shrunk(s, 1), expected)


@pytest.mark.parametrize("mode", ["class", "task"])
def test_the_nearest_class_of_all_tasks_is_found(mode: str) -> None:
    learner = three_tasks()

    def distance(x: Tensor, task: int, label: int) -> float:
        z = slow_features(learner, x, task)[0].detach().double().numpy()
        mean, inverse = slow_statistics(learner, task, label, shrink=2)
        apart = z / np.linalg.norm(z) - mean
        return apart @ inverse @ apart

    assert_nearest(learner, FeCAM(mode=mode), distance)  # pyright: ignore[reportArgumentType]


def test_statistics_of_a_finished_task_never_change() -> None:
    learner, inference = three_tasks(), FeCAM()
    first = finished(inference, learner, tasks=1)
    kept = [value.clone() for value in (first.means[0], first.precisions[0])]
    move(learner)
    later = inference.end_task(first, learner, make_task(1))
    assert torch.equal(later.means[0], kept[0]) and torch.equal(later.precisions[0], kept[1])
    assert later.means[1].shape == (2, 8) and later.precisions[1].shape == (2, 8, 8)


def test_a_class_of_one_sample_and_a_dead_feature_stay_finite() -> None:
    for z in (torch.ones(1, 4), torch.zeros(5, 4), torch.rand(5, 4) * torch.tensor([1.0, 0, 1, 1])):
        for times in (0, 2):
            inverse = precision(normalised(shrunk(covariance(z), times)))
            assert bool(inverse.isfinite().all())


def test_tukey_raises_features_to_a_power_and_keeps_their_sign() -> None:
    raised = FeCAM(tukey=0.5)._raised(torch.tensor([[4.0, -9.0, 0.0]]))
    torch.testing.assert_close(raised, torch.tensor([[2.0, -3.0, 0.0]]))
    learner = three_tasks()
    plain, square = (finished(FeCAM(tukey=power), learner, tasks=1).means[0] for power in (None, 2.0))
    assert not torch.allclose(plain, square)
