"""Experience replay: one mean over batch and draw."""

import pytest
import torch
from methods.helpers import (
    UNEVEN,
    assert_same,
    fill,
    loss_and_gradients,
    make_batch,
    make_learner,
    offer,
    slow_cross_entropy,
    slow_gradients,
    slow_rows,
)

from hypermnesia.core.rng import generator
from hypermnesia.methods.er import ER
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = ER(memory=MemoryOptions(size=12, batch_size=5))


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}])
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    learner = make_learner(**setting)
    state, batch = fill(METHOD, learner), make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None

    total = torch.zeros(())
    for i in range(len(batch.y)):
        total = total + slow_cross_entropy(learner.model(batch.x[i : i + 1], 1)[0], int(batch.target[i]))
    for row, target in zip(slow_rows(learner, draw), draw.target.tolist(), strict=True):
        total = total + slow_cross_entropy(row, target)
    expected = slow_gradients(learner, total / (len(batch.y) + len(draw)))

    assert_same(loss_and_gradients(METHOD, learner, state, batch, draw), expected)


def test_every_sample_is_offered_and_kept_as_it_came() -> None:
    learner = make_learner(task=0)
    batch, state = make_batch(learner), METHOD.init(learner)
    state = offer(METHOD, state, learner, batch)
    state = offer(METHOD, state, learner, batch)  # a second epoch
    assert state.memory.seen == 12 and state.memory.filled == 12
    assert state.memory.logits is None
    torch.testing.assert_close(state.memory.x[:6], batch.raw)
    torch.testing.assert_close(state.memory.y[:6], batch.y)
