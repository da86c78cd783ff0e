"""DER++: remembered logits on one draw, labels on another."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from methods.helpers import (
    UNEVEN,
    assert_same,
    fill,
    finetune_gradients,
    loss_and_gradients,
    make_batch,
    make_learner,
    slow_cross_entropy,
    slow_gradients,
    slow_rows,
)

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.der import DERPP
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = DERPP(alpha=0.7, beta=0.4, memory=MemoryOptions(size=12, batch_size=5))


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}])
@pytest.mark.parametrize("joint", [True, False])
def test_one_step_equals_the_formula_written_out(setting: dict, joint: bool) -> None:
    method = replace(METHOD, joint_forward=joint)
    learner = make_learner(**setting)
    state, batch = fill(method, learner), make_batch(learner)
    draw = method.draw(state, learner, batch, generator(0))
    assert draw is not None and draw[0].logits is not None

    expected = torch.zeros(())
    for i in range(len(batch.y)):
        row = learner.model(batch.x[i : i + 1], 1)[0]
        expected = expected + slow_cross_entropy(row, int(batch.target[i])) / len(batch.y)
    squares = []
    for row, remembered in zip(slow_rows(learner, draw[0]), draw[0].logits, strict=True):
        squares += [(row[c] - remembered[c]) ** 2 for c in range(len(row))]
    for row, target in zip(slow_rows(learner, draw[1]), draw[1].target.tolist(), strict=True):
        expected = expected + 0.4 * slow_cross_entropy(row, target) / len(draw[1])
    expected = expected + 0.7 * torch.stack(squares).mean()

    found = loss_and_gradients(method, learner, state, batch, draw)
    assert_same(found, slow_gradients(learner, expected), tol=3e-6)


def test_the_two_draws_are_independent() -> None:
    learner = make_learner()
    state, batch, rng = fill(METHOD, learner), make_batch(learner), generator(0)
    equal = 0
    for _ in range(20):
        draw = METHOD.draw(state, learner, batch, rng)
        assert draw is not None
        equal += torch.equal(draw[0].index, draw[1].index)
    assert equal < 3


def test_an_empty_memory_and_weights_of_0_mean_finetuning() -> None:
    learner = make_learner()
    batch, empty = make_batch(learner), METHOD.init(learner)
    plain = finetune_gradients(learner, batch)
    assert METHOD.draw(empty, learner, batch, generator(0)) is None
    assert_same(loss_and_gradients(METHOD, learner, empty, batch, None), plain)
    weightless, state = DERPP(alpha=0, beta=0, memory=METHOD.memory), fill(METHOD, learner)
    draw = weightless.draw(state, learner, batch, generator(0))
    assert_same(loss_and_gradients(weightless, learner, state, batch, draw), plain)


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_negative_weight_is_an_error(name: str) -> None:
    bad: dict[str, Any] = {name: -0.5}
    with pytest.raises(
        HypermnesiaError, match=rf"^derpp\.{name}=-0.5: expected a finite number, at least 0$"
    ):
        DERPP(**bad)
