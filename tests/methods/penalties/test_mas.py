"""MAS: importance and penalty against the formulas written out sample by sample."""

import pytest
import torch
from methods.regularisation_helpers import Weights, learner_on, make_task, move, next_task

from hypermnesia.core import tensors
from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.penalties.mas import MAS

ALL_WEIGHTS: tuple[Weights, ...] = ("plain", "hyper", "mask")


def slow_importance(learner: Learner, task: int) -> tensors.Tensors:
    """Mean of the gradients' absolute values, one sample at a time."""
    part, net = make_task(task).train, Net(learner.model)
    total = tensors.zeros_like(learner.model.trainable())
    for i in range(len(part)):
        logits = net(learner.preprocess(part.batch(torch.tensor([i]))[0], None), task)[0]
        length = torch.stack([logit**2 for logit in logits]).sum()
        for name, g in net.gradients(length).items():
            total[name] += g.abs() / len(part)
    return total


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_penalty_and_gradient_equal_the_formula_written_out(weights: Weights) -> None:
    learner, method = learner_on(weights), MAS(strength=3.0)
    state, slow = method.init(learner), {}
    assert method.value(Net(learner.model), state, None) is None
    anchor: tensors.Tensors = {}
    for task in range(2):
        move(learner, seed=task)
        slow = tensors.add(slow, slow_importance(learner, task))
        anchor |= tensors.copy(learner.model.trainable())
        state = method.end_task(state, learner, make_task(task), generator(0))
        next_task(learner)
        state = method.begin_task(state, learner)
    move(learner, seed=2)
    assert state.importance.keys() == slow.keys()
    for name, value in slow.items():
        torch.testing.assert_close(state.importance[name], value, atol=1e-6, rtol=1e-4)
    assert sum(float(value.sum()) for value in slow.values()) > 0

    net = Net(learner.model)
    held = [name for name in slow if name in net.params]
    expected = 3.0 * torch.stack([(slow[n] * (net.params[n] - anchor[n]) ** 2).sum() for n in held]).sum()
    found = method.value(net, state, None)
    assert found is not None and float(found.detach()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    ours, theirs = net.gradients(found), net.gradients(expected)
    for name in held:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


def test_a_part_of_the_samples_is_drawn_at_random_and_all_of_them_are_the_mean() -> None:
    learner, task = learner_on("plain"), make_task(0)
    full, whole, one, other = (
        MAS(samples=samples)._importance(learner, task, learner.model.trainable(), generator(seed))
        for samples, seed in ((None, 0), (len(task.train), 1), (2, 0), (2, 1))
    )
    name = next(iter(full))
    assert torch.equal(full[name], whole[name]) and not torch.equal(one[name], other[name])
