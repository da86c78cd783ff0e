"""Experience replay: one mean over batch and draw."""

import torch
from methods.helpers import Midstep, make_batch, make_learner, offer, on_any_weights

from hypermnesia.methods.er import ER
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = ER(memory=MemoryOptions(size=12, batch_size=5))


@on_any_weights
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    step = Midstep(METHOD, **setting)
    step.assert_loss(torch.stack([*step.own(), *step.again(step.draw)]).mean())


def test_every_sample_is_offered_and_kept_as_it_came() -> None:
    learner = make_learner(task=0)
    batch, state = make_batch(learner), METHOD.init(learner)
    state = offer(METHOD, state, learner, batch)
    state = offer(METHOD, state, learner, batch)  # a second epoch
    assert state.memory.seen == 12 and state.memory.filled == 12
    assert state.memory.logits is None
    torch.testing.assert_close(state.memory.x[:6], batch.raw)
    torch.testing.assert_close(state.memory.y[:6], batch.y)
