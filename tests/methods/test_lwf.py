"""LwF: distillation against the formula written out sample by sample."""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import UNEVEN, assert_same, make_batch, make_learner
from methods.regularisation_helpers import Weights, batch_of, learner_on, make_task, move
from torch import Tensor, nn

from hypermnesia.core import tensors
from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.lwf import LwF, LwFDraw, LwFState

ALL_WEIGHTS: tuple[Weights, ...] = ("plain", "hyper", "mask")


def begun(method: LwF, learner: Learner) -> LwFState:
    return method.begin_task(method.init(learner), learner)


def drawn(method: LwF, state: LwFState, learner: Learner, seed: int = 0) -> LwFDraw:
    draw = method.draw(state, learner, batch_of(learner, make_task(learner.task)), generator(seed))
    assert draw is not None
    return draw


def slow_divergence(old: Tensor, new: Tensor, temperature: float) -> Tensor:
    """Σ p (log p − log q) of one sample, with p and q the answers at this temperature."""
    p, q = (old / temperature).exp(), (new / temperature).exp()
    p, q = p / p.sum(), q / q.sum()
    return sum((p[c] * (p[c].log() - q[c].log()) for c in range(len(p))), torch.zeros(()))


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_one_step_equals_the_formula_written_out(weights: Weights) -> None:
    learner, method = learner_on(weights, tasks=3), LwF(alpha=0.7, temperature=2.0)
    state = begun(method, learner)
    old = {name: value.clone() for name, value in learner.model.state_dict().items() if not value.is_meta}
    move(learner)
    batch, draw, net = batch_of(learner, make_task(2)), drawn(method, state, learner), Net(learner.model)
    value, aux = method.loss(net, state, batch, draw)

    expected = F.cross_entropy(net(batch.x, 2), batch.target)
    for i in range(len(batch.y)):
        x = batch.x[i : i + 1]
        if weights == "plain":  # one head: all classes of the earlier tasks together
            pairs = [(Net(learner.model, old)(x, 2)[0, :4], net(x, 2)[0, :4])]
        else:
            pairs = [(Net(learner.model, old)(x, task)[0], net(x, task)[0]) for task in (0, 1)]
        for before, after in pairs:
            expected = expected + 0.7 * slow_divergence(before.detach(), after, 2.0) / len(batch.y)
    assert_same((value, net.gradients(value)), (expected, net.gradients(expected)), tol=1e-5)
    assert float(aux.terms["distillation"]) > 0


def test_heads_of_different_width_each_keep_their_own_answers() -> None:
    learner, method = make_learner(head="per_task", classes=UNEVEN, task=2), LwF()
    state = begun(method, learner)
    draw = method.draw(state, learner, make_batch(learner), generator(0))
    assert draw is not None
    assert [(old.task, old.logits.shape[1]) for old in draw.old] == [(0, 2), (1, 3)]


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_nothing_is_lost_at_the_old_parameters_and_something_after_a_step(weights: Weights) -> None:
    learner, method = learner_on(weights, tasks=2), LwF()
    state, batch = begun(method, learner), batch_of(learner, make_task(1))
    draw = drawn(method, state, learner)
    at_rest = method.loss(Net(learner.model), state, batch, draw)[1].terms["distillation"]
    torch.testing.assert_close(at_rest, torch.tensor(0.0), atol=1e-6, rtol=0)
    move(learner)
    assert float(method.loss(Net(learner.model), state, batch, draw)[1].terms["distillation"]) > 1e-4


def test_the_old_model_answers_in_evaluation_mode_and_stays_as_it_was() -> None:
    net = nn.Sequential()
    layers = {
        "flatten": nn.Flatten(),
        "norm": nn.BatchNorm1d(16),
        "drop": nn.Dropout(0.5),
        "head": nn.Linear(16, 6),
    }
    for name, layer in layers.items():
        net.add_module(name, layer)
    learner, method = learner_on("plain", tasks=2, net=net), LwF()
    state, batch = begun(method, learner), batch_of(learner, make_task(1))
    with torch.no_grad():
        expected = learner.model.eval()(batch.x, 1)[:, :2]
    learner.model.train()
    old = tensors.copy(learner.model.stored())
    learner.model(batch.x, 1)  # moves the running statistics
    move(learner)
    torch.testing.assert_close(drawn(method, state, learner).old[0].logits, expected)
    assert net.training and all(torch.equal(state.old[name], value) for name, value in old.items())


def test_few_tasks_answer_in_a_step_and_count_for_all() -> None:
    learner, method = learner_on("hyper", tasks=3), LwF(tasks_per_step=1)
    state = begun(method, learner)
    asked = set()
    for seed in range(20):
        draw = drawn(method, state, learner, seed)
        assert len(draw.old) == 1 and draw.weight == 2
        asked.add(draw.old[0].task)
    assert asked == {0, 1}
