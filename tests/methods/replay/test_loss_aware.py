"""LARS: what is answered well makes room."""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import make_batch, make_learner

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.der import DER
from hypermnesia.methods.er import ER
from hypermnesia.methods.gss import GSS
from hypermnesia.methods.latent_replay import LatentReplay
from hypermnesia.methods.learner import Net, Step
from hypermnesia.methods.replay.buffer import empty
from hypermnesia.methods.replay.loss_aware import chosen
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = ER(memory=MemoryOptions(size=8, batch_size=5, policy="lars"))


def test_who_is_let_in_takes_the_place_of_one_that_is_answered_well() -> None:
    memory = empty(3, (), policy="lars")
    assert chosen(memory, [4.0, 1.0, 3.0], [[0.9, 0.9]] * 3) == ([0, 1, 2], [0, 1, 2])  # while there is room
    memory.filled, memory.seen, memory.keys = 3, 3, torch.tensor([4.0, 1.0, 3.0], dtype=torch.float64)
    assert chosen(memory, [9.0], [[0.76, 0.5]]) == ([], [])  # slot 3 of 4
    # Largest loss minus each: 0, 3, 1. So slot 0 never goes, slot 1 with chance 3/4.
    assert chosen(memory, [9.0], [[0.1, 0.001]]) == ([1], [0])
    assert chosen(memory, [9.0], [[0.1, 0.74]]) == ([1], [0])
    assert chosen(memory, [9.0], [[0.1, 0.76]]) == ([2], [0])
    # The second meets 4, 9, 3: chances 5/11, 0, 6/11.
    assert chosen(memory, [9.0, 0.0], [[0.1, 0.1], [0.1, 0.4]]) == ([1, 0], [0, 1])
    memory.keys = torch.ones(3, dtype=torch.float64)
    assert chosen(memory, [1.0], [[0.1, 0.5]]) == ([1], [0])


def test_losses_are_the_latest_that_are_known() -> None:
    learner = make_learner(task=0)
    state, net = METHOD.init(learner), Net(learner.model)
    first = make_batch(learner, 6)
    _, aux = METHOD.loss(net, state, first, None)
    state = METHOD.after_step(state, learner, Step(first, None, aux), generator(0))
    expected = F.cross_entropy(net(first.x, 0), first.target, reduction="none").detach().double()
    torch.testing.assert_close(state.memory.keys[:6], expected)
    with torch.no_grad():
        for p in learner.model.parameters():
            p.mul_(2)
    second = make_batch(learner, 1, seed=1)
    draw = METHOD.draw(state, learner, second, generator(0))
    _, aux = METHOD.loss(net, state, second, draw)
    state = METHOD.after_step(state, learner, Step(second, draw, aux), generator(0))
    now = F.cross_entropy(net(first.x, 0), first.target, reduction="none").detach().double()
    kept = torch.ones(6, dtype=torch.bool)
    kept[draw.index] = False
    torch.testing.assert_close(state.memory.keys[:6], torch.where(kept, expected, now), rtol=1e-5, atol=1e-6)
    assert state.memory.filled == 7


def test_methods_that_know_no_losses_refuse_it() -> None:
    for method in (DER, LatentReplay, GSS):
        with pytest.raises(
            HypermnesiaError, match=r"^memory\.policy=lars is a part of er: choose another policy$"
        ):
            method(memory=MemoryOptions(size=8, policy="lars"))
