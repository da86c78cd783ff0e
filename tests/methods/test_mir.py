"""MIR: of the candidates, those whose loss a step on the batch alone would raise most are rehearsed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import (
    UNEVEN,
    assert_same,
    fill,
    make_batch,
    make_learner,
    slow_cross_entropy,
    slow_gradients,
    slow_rows,
)

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.lookahead import candidate
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.learner import Net
from hypermnesia.methods.mir import MIR, chosen
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = MIR(candidates=10, memory=MemoryOptions(size=12, batch_size=4))
RATE = 0.5


def plain_step(gradients: Tensors, plain: bool = False) -> Tensors:
    assert plain
    return {name: -RATE * g for name, g in gradients.items()}


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}])
def test_one_step_equals_the_algorithm_written_out(setting: dict) -> None:
    learner = make_learner(**setting)
    state, batch = fill(METHOD, learner), make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None and len(draw) == 10

    ahead = copy.deepcopy(learner)
    moved = {name: p for name, p in ahead.model.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(
        F.cross_entropy(ahead.model(batch.x, 1), batch.target), list(moved.values()), allow_unused=True
    )
    with torch.no_grad():
        for parameter, slope in zip(moved.values(), slopes, strict=True):
            parameter -= 0 if slope is None else RATE * slope
    now, then = (
        [slow_cross_entropy(row, int(t)) for row, t in zip(slow_rows(of, draw), draw.target, strict=True)]
        for of in (learner, ahead)
    )
    worse = [float((b - a).detach()) for a, b in zip(now, then, strict=True)]
    kept = []
    for block in draw.blocks:
        ranked = sorted(range(block.start, block.stop), key=lambda i: -worse[i])
        kept += ranked[: 4 // len(draw.blocks)]
    assert len(kept) == 4 and set(kept) != set(range(4))
    own = [
        slow_cross_entropy(learner.model(batch.x[i : i + 1], 1)[0], int(batch.target[i]))
        for i in range(len(batch.y))
    ]
    expected = torch.stack([*own, *(now[i] for i in kept)]).mean()

    gradients, value, _ = METHOD.gradients(Net(learner.model), state, batch, draw, plain_step)
    assert_same((value, gradients), slow_gradients(learner, expected), tol=3e-6)


def test_the_virtual_step_leaves_network_and_optimizer_as_they_are() -> None:
    learner = make_learner()
    state, batch = fill(METHOD, learner), make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    trained = learner.model.trainable()
    optimizer = torch.optim.Adam([{"params": list(trained.values()), "names": list(trained)}], lr=RATE)
    before = {name: value.clone() for name, value in learner.model.stored().items()}
    learner.model.train()

    def ahead(gradients: Tensors, plain: bool = False) -> Tensors:
        return candidate(optimizer, gradients, plain=plain)

    found = METHOD.gradients(Net(learner.model), state, batch, draw, ahead)
    again = METHOD.gradients(Net(learner.model), state, batch, draw, plain_step)
    assert_same((found[1], found[0]), (again[1], again[0]), tol=0)  # Adam's rate, but not its step
    assert not optimizer.state and learner.model.training
    assert all(torch.equal(value, before[name]) for name, value in learner.model.stored().items())


def test_the_largest_scores_are_chosen_with_all_that_belongs_to_them() -> None:
    learner = make_learner()
    draw = METHOD.draw(fill(METHOD, learner), learner, make_batch(learner), generator(0))
    assert draw is not None
    scores = torch.tensor([0.0, 9, 1, 8, 2, 7, 3, 6, 4, -9])
    found = chosen(draw, scores, 4)
    rows = [1, 3, 5, 7]
    assert torch.equal(found.x, draw.x[rows]) and torch.equal(found.y, draw.y[rows])
    assert torch.equal(found.target, draw.target[rows]) and torch.equal(found.index, draw.index[rows])
    assert [(b.task, b.start, b.stop) for b in found.blocks] == [(1, 0, 4)]


def test_bad_input() -> None:
    message = r"^mir\.candidates=20 leaves nothing to choose for memory\.batch_size=32: give at least as many"
    with pytest.raises(HypermnesiaError, match=message):
        MIR(candidates=20)
