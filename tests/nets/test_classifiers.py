"""Last layers: cosine, simplex, and a linear one with a projection beside."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.nets.classifiers import CosineLinear, SimplexLinear, projections, simplex, with_classifier
from hypermnesia.nets.mlp import MLPOptions
from hypermnesia.nets.stages import classifier


def net(name, **options):
    built = MLPOptions(hidden=(8,)).build((1, 4, 4), 6)
    return built, with_classifier(built, name, options.get("scale", 1.0), options.get("width", 5))


def test_cosines_times_the_factor() -> None:
    built, changed = net("cosine", scale=3.0)
    x = torch.rand(5, 1, 4, 4)
    features, weight = built[:2](x).detach(), changed.head.weight.detach()
    expected = [[3 * float(F.cosine_similarity(f, w, dim=0)) for w in weight] for f in features]
    torch.testing.assert_close(changed(x), torch.tensor(expected))
    assert changed.head.bias is None and changed.head.scale.requires_grad
    assert isinstance(changed.head, CosineLinear)


@pytest.mark.parametrize("corners", [2, 3, 10])
def test_the_corners_of_a_simplex_lie_at_equal_angles(corners: int) -> None:
    points = simplex(corners)
    assert points.shape == (corners - 1, corners)
    expected = torch.full((corners, corners), -1 / (corners - 1)).fill_diagonal_(1.0)
    torch.testing.assert_close(points.T @ points, expected, rtol=0, atol=1e-6)


def test_a_simplex_classifier_has_one_row_less_than_classes() -> None:
    _, changed = net("simplex")
    assert isinstance(changed.head, SimplexLinear) and changed.head.weight.shape == (5, 8)
    assert changed(torch.rand(2, 1, 4, 4)).shape == (2, 6)


def test_the_projection_stands_beside_the_classifier() -> None:
    built, changed = net("projected", width=3)
    assert classifier(changed) == "head"
    x = torch.rand(2, 1, 4, 4)
    with projections(changed) as seen:
        logits = changed(x)
    torch.testing.assert_close(seen[0], changed.head.projection(changed[:2](x)))
    assert seen[0].shape == (2, 3) and logits.shape == (2, 6)


@pytest.mark.parametrize("name", ["cosine", "simplex", "projected"])
@pytest.mark.parametrize("weights", ["plain", "hyper", "partial", "mask", "lora"])
def test_every_kind_of_weights_takes_it(name: str, weights: str) -> None:
    words = [f"weights.classifier={name}", f"weights={weights}", "net.hidden=[8]", "stream.tasks=2"]
    words += ["stream.samples_per_task=20", "train.iterations=2", "train.threads=1", "evaluate.samples=4"]
    run, again = (build(resolve("split-digits", "er", words), seed=0) for _ in range(2))
    for one in (run, again):
        torch.manual_seed(id(one) % 1000)  # the layers' start belongs to the run's seed
        for _ in one:
            pass
    ours, theirs = run.learner.model.stored(), again.learner.model.stored()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_what_has_no_plain_last_layer_is_an_error() -> None:
    message = r"^weights\.classifier=cosine replaces the last nn\.Linear of a network; Linear has no plain one within it$"
    with pytest.raises(HypermnesiaError, match=message):
        with_classifier(nn.Linear(3, 2), "cosine", 1.0, 5)
