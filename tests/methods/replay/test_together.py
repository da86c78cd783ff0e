"""Runs that draw together draw what each would draw by itself."""

from copy import deepcopy
from dataclasses import fields

import pytest
import torch
from methods.helpers import make_batch, make_learner
from torch import Tensor

from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Learner
from hypermnesia.methods.replay import rehearsal, together
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay

OPTIONS = MemoryOptions(size=9, batch_size=4)


def memory(learner: Learner, seed: int, logits: bool, offers: int = 3) -> Memory:
    found = rehearsal.empty_memory(learner, OPTIONS, logits)
    for i in range(offers):
        batch = make_batch(learner, seed=10 * seed + i)
        own = learner.model(batch.x, 0).detach() if logits else None
        rehearsal.remember(found, batch, generator(seed), own)
    return found


def same(a: Replay, b: Replay) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(Replay)]
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("logits", [False, True])
def test_each_run_draws_what_it_would_by_itself(logits: bool) -> None:
    learners = [make_learner() for _ in range(3)]
    held = [memory(learner, seed, logits) for seed, learner in enumerate(learners)]
    alone, rngs = deepcopy(held), [generator(seed) for seed in range(3)]
    twins = [generator(seed) for seed in range(3)]
    for later in range(2):
        found = together.rehearse(held, learners, OPTIONS, rngs)
        assert found is not None
        whole, each = found
        for i, (own, learner, rng) in enumerate(zip(alone, learners, twins, strict=True)):
            expected = rehearsal.rehearse(own, learner, OPTIONS, rng)
            assert expected is not None and same(each[i], expected)
            assert torch.equal(whole.x[i], expected.x) and torch.equal(rngs[i].get_state(), rng.get_state())
            batch = make_batch(learner, seed=90 + i + later)
            outputs = learner.model(batch.x, 0).detach() if logits else None
            for one in (held[i], own):  # what is offered afterwards is drawn from as well
                rehearsal.remember(one, batch, generator(later), outputs)
            assert torch.equal(held[i].x, own.x) and torch.equal(held[i].y, own.y)


def test_memories_that_hold_different_numbers_draw_by_themselves() -> None:
    learners, rng = [make_learner(), make_learner()], generator(0)
    held = [memory(learners[0], 0, False), memory(learners[1], 1, False, offers=1)]
    assert together.rehearse(held, learners, OPTIONS, [rng, rng]) is None
    assert torch.equal(rng.get_state(), generator(0).get_state())
