"""DER: squared error to the remembered logits; DER++: and labels on another draw."""

from dataclasses import replace

import pytest
import torch
from methods.helpers import (
    SPLIT,
    UNEVEN,
    Midstep,
    assert_same,
    fill,
    finetune_gradients,
    loss_and_gradients,
    make_batch,
    make_learner,
    offer,
    on_any_weights,
)

from hypermnesia.core.rng import generator
from hypermnesia.methods.der import DER, DERPP
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = DER(alpha=0.7, memory=MemoryOptions(size=12, batch_size=5))
BOTH = DERPP(alpha=0.7, beta=0.4, memory=METHOD.memory)


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"head": "sliced"}])
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    step = Midstep(METHOD, **setting)
    step.assert_loss(torch.stack(step.own()).mean() + 0.7 * step.squares(step.draw))


def test_what_is_remembered_of_classes_that_come_is_what_an_untrained_output_says() -> None:
    state, later = fill(METHOD, make_learner()), make_learner(classes=(*SPLIT, (6, 7)), task=3)
    logits = METHOD.begin_task(state, later).memory.logits
    assert logits is not None and torch.equal(logits[:, :6], state.memory.logits)
    assert (logits.shape[1], int(logits[:, 6:].count_nonzero())) == (8, 0)
    assert METHOD.begin_task(state, make_learner()).memory is state.memory


def test_nothing_pulls_while_the_network_is_the_one_remembered() -> None:
    learner = make_learner(task=0)
    batch = make_batch(learner)
    state = offer(METHOD, METHOD.init(learner), learner, batch)
    draw = METHOD.draw(state, learner, batch, generator(0))
    found = loss_and_gradients(METHOD, learner, state, batch, draw)
    assert_same(found, finetune_gradients(learner, batch), tol=1e-5)


def test_it_remembers_the_logits_of_the_training_forward() -> None:
    learner = make_learner(task=0)
    batch = make_batch(learner)
    state = offer(METHOD, METHOD.init(learner), learner, batch)
    assert state.memory.logits is not None
    torch.testing.assert_close(state.memory.logits[:6], learner.model(batch.x, 0).detach())


@on_any_weights
@pytest.mark.parametrize("joint", [True, False])
def test_one_step_of_derpp_equals_the_formula_written_out(setting: dict, joint: bool) -> None:
    step = Midstep(replace(BOTH, joint_forward=joint), **setting)
    by_logits, by_labels = step.draw
    labelled = torch.stack(step.again(by_labels)).mean()
    step.assert_loss(torch.stack(step.own()).mean() + 0.7 * step.squares(by_logits) + 0.4 * labelled)


def test_the_two_draws_are_independent() -> None:
    learner = make_learner()
    state, batch, rng = fill(BOTH, learner), make_batch(learner), generator(0)
    equal = 0
    for _ in range(20):
        first, second = BOTH.draw(state, learner, batch, rng)
        equal += torch.equal(first.index, second.index)
    assert equal < 3
