"""SI: path integral, importance and penalty against the formulas written out parameter by parameter."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import assert_same
from methods.regularisation_helpers import (
    Weights,
    batch_of,
    bound,
    learner_on,
    loss_with,
    make_task,
    move,
    moved,
    next_task,
)

from hypermnesia.core import tensors
from hypermnesia.core.rng import generator
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Learner, Net, Step
from hypermnesia.methods.penalties.anchor import Anchor
from hypermnesia.methods.penalties.si import SI, SIState

ALL_WEIGHTS: tuple[Weights, ...] = ("plain", "hyper", "mask")


def step(method: SI, state: SIState, learner: Learner, seed: int) -> tuple[SIState, Step]:
    """One SGD step of rate 0.5 on a batch of the current task."""
    batch, net = batch_of(learner, make_task(learner.task), seed=seed), Net(learner.model)
    value, aux = loss_with(method, net, state, batch)
    before, gradients = tensors.copy(net.params), net.gradients(value)
    with torch.no_grad():
        for name, g in gradients.items():
            net.params[name] -= 0.5 * g
        done = Step(batch, None, aux, before, net.params, gradients)
        return method.after_step(state, learner, done, generator(0)), done


def learn_a_task(method: SI, state: SIState, learner: Learner, steps: int = 3) -> SIState:
    state = method.begin_task(state, learner)
    for seed in range(steps):
        state, _ = step(method, state, learner, seed)
    return method.end_task(state, learner, make_task(learner.task), generator(0))


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_importance_is_the_path_integral_over_the_squared_distance(weights: Weights) -> None:
    learner, method = learner_on(weights), SI(xi=0.1)
    start = tensors.copy(learner.model.trainable())
    state = method.begin_task(method.init(learner), learner)
    path = tensors.zeros_like(start)
    for seed in range(3):
        state, done = step(method, state, learner, seed)
        for name, g in done.gradients.items():
            path[name] += g * 0.5 * g  # before − after = rate · gradient
    state = method.end_task(state, learner, make_task(0), generator(0))
    for name, now in learner.model.trainable().items():
        expected = path[name] / ((now.detach() - start[name]) ** 2 + 0.1)
        torch.testing.assert_close(state.importance[name], expected, atol=1e-7, rtol=1e-4)
    assert sum(float(value.sum()) for value in path.values()) > 0


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_one_step_equals_the_formula_written_out(weights: Weights) -> None:
    learner, method = learner_on(weights), SI(c=2.0, xi=0.1)
    state = learn_a_task(method, method.init(learner), learner)
    next_task(learner)
    state = method.begin_task(state, learner)
    start = tensors.copy(learner.model.trainable())
    batch, values = batch_of(learner, make_task(1)), moved(learner)
    net = bound(learner, values)
    value = loss_with(method, net, state, batch)[0]
    found = value, net.gradients(value)

    net = bound(learner, values)
    expected = F.cross_entropy(net(batch.x, 1), batch.target)
    for name, importance in state.importance.items():
        if name in net.params:  # an embedding of the finished task does not train
            expected = expected + 2.0 * (importance * (net.params[name] - start[name]) ** 2).sum()
    assert_same(found, (expected, net.gradients(expected)), tol=1e-5)


def test_the_path_follows_the_task_alone_and_not_the_penalty() -> None:
    learner, method = learner_on("plain"), SI(c=2.0, xi=0.1)
    state = learn_a_task(method, method.init(learner), learner)
    next_task(learner)
    state = method.begin_task(state, learner)
    move(learner)  # so that the penalty pulls
    batch, net = batch_of(learner, make_task(1), seed=7), Net(learner.model)
    alone = net.gradients(F.cross_entropy(net(batch.x, 1), batch.target))
    found, done = step(method, state, learner, seed=7)
    assert any(not torch.allclose(done.gradients[name], alone[name]) for name in alone)
    for name, g in alone.items():
        expected = g * (done.before[name] - done.after[name].detach())
        torch.testing.assert_close(found.path[name], expected, atol=1e-6, rtol=1e-4)


def test_importance_never_falls_below_0() -> None:
    learner, method = learner_on("plain"), SI()
    state = method.begin_task(method.init(learner), learner)
    uphill = {name: -torch.ones_like(value) for name, value in state.path.items()}
    state = method.end_task(replace(state, path=uphill), learner, make_task(0), generator(0))
    assert all(float(value.abs().max()) == 0 for value in state.importance.values())


def test_a_step_away_is_punished_and_a_new_embedding_is_free() -> None:
    learner, method = learner_on("hyper"), SI()
    state = learn_a_task(method, method.init(learner), learner)
    next_task(learner)
    state = method.begin_task(state, learner)
    batch = batch_of(learner, make_task(1))
    at_rest = loss_with(method, Net(learner.model), state, batch)[1].terms["si"]
    assert float(at_rest) == 0
    after = loss_with(method, bound(learner, moved(learner)), state, batch)[1].terms["si"]
    assert float(after) > 0
    fresh = [n for n in learner.model.trainable() if ".embeddings." in n]
    assert fresh and not set(fresh) & set(state.importance)


def test_a_parameter_that_the_loss_misses_gathers_nothing() -> None:
    learner, method = learner_on("plain"), SI()
    state = method.begin_task(method.init(learner), learner)
    name = "target.head.weight"
    params = tensors.copy(learner.model.trainable())
    gradients = {n: torch.ones_like(v) for n, v in params.items() if n != name}
    after = {n: v - 1 for n, v in params.items()}
    done = Step(batch_of(learner, make_task(0)), before=params, after=after, gradients=gradients)
    state = method.after_step(state, learner, done, generator(0))
    assert float(state.path[name].abs().max()) == 0 and float(state.path["target.head.bias"].min()) == 1


def test_it_is_told_the_parameters_even_inside_a_combination() -> None:
    assert combine(Finetune(), SI(), Anchor()).watches_parameters
