"""FDR: probabilities on remembered samples stay near those at their task's end."""

import pytest
import torch
from methods.helpers import (
    UNEVEN,
    Midstep,
    assert_same,
    finetune_gradients,
    loss_and_gradients,
    make_batch,
    make_learner,
    make_stream,
    offer,
    on_any_weights,
    slow_rows,
)

from hypermnesia.core.rng import generator
from hypermnesia.methods.der import DER
from hypermnesia.methods.fdr import FDR
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = FDR(alpha=0.7, memory=MemoryOptions(size=12, batch_size=5))
FILLED = DER(memory=METHOD.memory)
"""Fills the same memory step by step: logits of an earlier network, a little disturbed."""


@on_any_weights
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    step = Midstep(METHOD, FILLED, **setting)
    distances = []
    for row, remembered in zip(slow_rows(step.learner, step.draw), step.draw.logits, strict=True):
        now, then = row.exp() / row.exp().sum(), remembered[: len(row)].exp()
        distances.append((now - then / then.sum()).square().sum().sqrt())
    step.assert_loss(torch.stack(step.own()).mean() + 0.7 * torch.stack(distances).mean())


def test_nothing_pulls_while_the_network_is_the_one_remembered() -> None:
    """The norm has no derivative at 0; what is taken there is 0 and not NaN."""
    learner = make_learner(task=0)
    batch = make_batch(learner)
    state = offer(FILLED, FILLED.init(learner), learner, batch)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None and draw.logits is not None
    draw.logits.copy_(learner.model(draw.x, 0).detach())
    found = loss_and_gradients(METHOD, learner, state, batch, draw)
    assert_same(found, finetune_gradients(learner, batch), tol=1e-5)


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}])
def test_the_memory_is_written_when_a_task_ends(setting: dict) -> None:
    learner = make_learner(task=0, **setting)
    batch, task = make_batch(learner), make_stream().tasks[0]
    learner.model.train()
    state = offer(METHOD, METHOD.init(learner), learner, batch)
    assert METHOD.needs_boundaries and state.memory.filled == 0  # nothing within a task
    memory = METHOD.end_task(state, learner, task, generator(0)).memory
    assert memory.tasks() == {0: 12} and memory.seen == len(task.train) and memory.logits is not None
    expected = learner.model(learner.preprocess(memory.x, None), 0).detach()
    torch.testing.assert_close(memory.logits[:, : expected.shape[1]], expected)
    assert learner.model.training
