"""HAL: replay, and anchors whose answers a step may not move."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import UNEVEN, assert_same, fill, make_batch, make_learner, make_stream

from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.er import ER
from hypermnesia.methods.hal import HAL
from hypermnesia.methods.learner import Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = HAL(strength=0.5, anchor_steps=3, memory=MemoryOptions(size=12, batch_size=5, policy="ring"))
RATE = 0.3


def plain_step(gradients: Tensors, plain: bool = False) -> Tensors:
    assert plain
    return {name: -RATE * g for name, g in gradients.items()}


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}])
def test_a_step_is_the_formula_written_out(setting: dict) -> None:
    learner = make_learner(**setting)
    state, batch = fill(METHOD, learner), make_batch(learner)
    state = replace(state, anchors={"0": torch.rand(2, 1, 4, 4)})
    draw = METHOD.draw(state, learner, batch, generator(0))
    net = Net(learner.model)
    replayed, _ = ER(memory=METHOD.memory).loss(net, state, batch, draw)
    slopes = net.gradients(replayed)
    ahead = net.at({name: net.params[name] - RATE * g for name, g in slopes.items()})
    replayed, _ = ER(memory=METHOD.memory).loss(net, state, batch, draw)
    squares = [(net(e[None], 0) - ahead(e[None], 0).detach()).square() for e in state.anchors["0"]]
    expected = replayed + 0.5 * torch.cat(squares).mean()
    gradients, value, aux = METHOD.gradients(net, state, batch, draw, plain_step)
    assert_same((value, gradients), (expected, net.gradients(expected)), tol=1e-5)
    torch.testing.assert_close(value, aux.terms["cross_entropy"] + aux.terms["anchors"])


def test_anchors_climb_towards_what_is_forgotten() -> None:
    learner, task = make_learner(task=0), make_stream().tasks[0]
    state = fill(METHOD, learner)
    assert len(state.centre) == 8
    ended = METHOD.end_task(state, learner, task, generator(1))
    anchors = ended.anchors["0"]
    assert anchors.shape == (2, 1, 4, 4)
    rng = generator(1)
    draw = METHOD.draw(state, learner, make_batch(learner), rng)
    net = Net(learner.model)
    slopes = net.gradients(F.cross_entropy(net(draw.x, 0), draw.target))
    forgetful = net.at({name: net.params[name] - 0.1 * g for name, g in slopes.items()})
    start = torch.rand(2, 1, 4, 4, generator=rng)
    for c in range(2):
        e, y = start[c : c + 1], torch.tensor([c])
        for _ in range(3):
            e = e.detach().requires_grad_()
            features = learner.model.target[:2](e)
            gain = F.cross_entropy(forgetful(e, 0), y) - F.cross_entropy(net(e, 0), y)
            gain = gain - 0.1 * ((features - state.centre) ** 2).sum()
            e = e + 0.1 * torch.autograd.grad(gain, e)[0]
        torch.testing.assert_close(anchors[c : c + 1], e.detach(), rtol=1e-4, atol=1e-5)
    assert METHOD.begin_task(ended, learner).centre.shape == (0,)


def test_the_running_mean_is_of_the_tasks_features() -> None:
    learner = make_learner(task=0)
    state = fill(METHOD, learner)
    features = learner.model.target[:2](make_batch(learner, 6, 0, seed=100).x).mean(0)
    torch.testing.assert_close(state.centre, 0.5 * features)
