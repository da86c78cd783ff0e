"""SCR: a supervised contrastive loss over batch and memory; the nearest class mean answers."""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import (
    SHAPE,
    UNEVEN,
    assert_same,
    fill,
    loss_and_gradients,
    make_batch,
    make_learner,
    slow_gradients,
)

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Learner
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.methods.scr import SCR, piece
from hypermnesia.nets.classifiers import with_classifier
from hypermnesia.nets.mlp import MLPOptions

METHOD = SCR(temperature=0.5, crop=0.5, memory=MemoryOptions(size=12, batch_size=5))


def learner_with_projection(**setting) -> Learner:
    outputs = 6 if setting.get("head", "shared") == "shared" else 3
    net = MLPOptions(hidden=(8,), activation="tanh").build(SHAPE, outputs)
    return make_learner(net=with_classifier(net, "projected", 1.0, 5), **setting)


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}])
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    learner = learner_with_projection(**setting)
    state, batch = fill(METHOD, learner), make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw.replay is not None and draw.replay_views is not None
    body, head = learner.model.target[:2], learner.model.target.head
    rows = [*batch.x, *draw.views, *draw.replay.x, *draw.replay_views]
    y = [*batch.y.tolist()] * 2 + [*draw.replay.y.tolist()] * 2
    z = [F.normalize(head.projection(body(row[None]))[0], dim=0) for row in rows]
    expected = torch.zeros(())
    for i in range(len(z)):
        bottom = torch.stack([(z[i] @ z[a] / 0.5).exp() for a in range(len(z)) if a != i]).sum()
        logs = [(z[i] @ z[p] / 0.5).exp() / bottom for p in range(len(z)) if p != i and y[p] == y[i]]
        expected = expected - torch.stack(logs).log().mean() / len(z)
    found = loss_and_gradients(METHOD, learner, state, batch, draw)
    assert_same(found, slow_gradients(learner, expected), tol=3e-6)


def test_answers_are_the_nearest_means_within_a_task_and_after_it() -> None:
    learner = learner_with_projection()
    state, batch = fill(METHOD, learner), make_batch(learner)
    within = METHOD.scores(state, learner, batch.x, 1)
    ended = METHOD.end_task(state, learner, None, generator(0))
    after = METHOD.scores(ended, learner, batch.x, 1)
    assert within is not None and after is not None and torch.equal(within, after)
    body, memory = learner.model.target[:2], state.memory
    for c in range(6):
        own = memory.x[: memory.filled][memory.y[: memory.filled] == c]
        if len(own) == 0:
            assert (after[:, c] == -torch.inf).all()
            continue
        mean = F.normalize(F.normalize(body(learner.preprocess(own, None))).mean(0), dim=0)
        distance = (F.normalize(body(batch.x)) - mean).square().sum(1)
        torch.testing.assert_close(after[:, c], -distance, rtol=1e-4, atol=1e-5)
    assert METHOD.begin_task(ended, learner).means == {} and not METHOD.needs_boundaries


def test_a_piece_of_the_whole_area_is_the_image_and_a_smaller_one_lies_within() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(200, -1, -1, -1)
    pieces = piece(x, 0.2, mirror=False, rng=generator(0))
    assert 0 <= pieces.min() and pieces.max() <= 63
    across = pieces[:, 0, 0, -1] - pieces[:, 0, 0, 0]  # of 7 pixels, times the piece's width
    assert (across > 0).all() and across.min() < 0.6 * 7 and across.max() > 0.9 * 7
    turned = piece(x, 0.2, mirror=True, rng=generator(0))
    assert 60 < int((turned[:, 0, 0, -1] < turned[:, 0, 0, 0]).sum()) < 140


def test_bad_input() -> None:
    with pytest.raises(
        HypermnesiaError, match=r"has no projection of its features: set weights\.classifier=projected$"
    ):
        METHOD.init(make_learner())
