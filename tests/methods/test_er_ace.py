"""ER-ACE: old classes that the batch does not hold are closed to the stream's loss, open to the memory's."""

import pytest
import torch
from methods.helpers import (
    UNEVEN,
    Midstep,
    assert_same,
    fill,
    finetune_gradients,
    loss_and_gradients,
    make_batch,
    make_learner,
    slow_cross_entropy,
)

from hypermnesia.core.rng import generator
from hypermnesia.methods.er_ace import ERACE
from hypermnesia.methods.learner import Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = ERACE(memory=MemoryOptions(size=12, batch_size=5))


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}])
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    step = Midstep(METHOD, size=2, **setting)  # not every class of an uneven task
    head, batch, state = step.learner.model.head, step.batch, step.state
    assert head is not None
    opened = [i for i, c in enumerate(head.outputs(1)) if c in batch.y.tolist() or not state.seen[c]]
    own = [
        slow_cross_entropy(step.learner.model(x[None], 1)[0][opened], opened.index(int(t)))
        for x, t in zip(batch.x, batch.target, strict=True)
    ]
    step.assert_loss(torch.stack(own).mean() + torch.stack(step.again(step.draw.replay)).mean())


def test_the_stream_leaves_old_absent_classes_alone_and_pushes_unseen_ones() -> None:
    learner = make_learner(task=1)
    state, batch = fill(METHOD, learner), make_batch(learner)
    assert state.seen.tolist() == [True, True, True, True, False, False]
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None

    net = Net(learner.model)
    value, aux = METHOD.loss(net, state, batch, draw)
    replayed = torch.nn.functional.cross_entropy(net(draw.replay.x, 1), draw.replay.target)
    bias = net.gradients(value - replayed)["target.head.bias"]
    torch.testing.assert_close(bias[:2], torch.zeros(2), atol=1e-7, rtol=0)
    assert (bias[4:] > 1e-3).all()
    torch.testing.assert_close(value.detach(), aux.terms["cross_entropy"] + aux.terms["labels"])


def test_the_first_task_is_finetuning_unless_task_free() -> None:
    for boundaries, task_free, rehearses in ((True, False, False), (True, True, True), (False, False, True)):
        method = ERACE(task_free=task_free, memory=METHOD.memory)
        learner = make_learner(task=0, boundaries=boundaries)
        batch, state = make_batch(learner), fill(method, learner)
        draw = method.draw(state, learner, batch, generator(0))
        assert (draw is not None) == rehearses
        if draw is None:
            plain = finetune_gradients(learner, batch)
            assert_same(loss_and_gradients(method, learner, state, batch, draw), plain)
