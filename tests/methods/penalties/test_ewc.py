"""EWC: Fisher and penalty against the formulas written out sample by sample and task by task."""

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
from torch import Tensor, nn

from hypermnesia.core import tensors
from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.penalties.ewc import EWC, EWCState, merged

ALL_WEIGHTS: tuple[Weights, ...] = ("plain", "hyper", "mask")


def learn(
    method: EWC, learner: Learner, tasks: int
) -> tuple[EWCState, list[tensors.Tensors], list[tensors.Tensors]]:
    """Move through `tasks` tasks by random steps and begin another: (state, Fisher and θ* of each task)."""
    state, fishers, anchors = method.init(learner), [], []
    for task in range(tasks):
        move(learner, seed=task)
        fishers.append(slow_fisher(learner, task))
        anchors.append(tensors.copy(learner.model.trainable()))
        state = method.end_task(state, learner, make_task(task), generator(0))
        next_task(learner)
    return state, fishers, anchors


def slow_fisher(learner: Learner, task: int, weighted: bool = False) -> tensors.Tensors:
    """Mean of squared gradients, one sample at a time."""
    part, net = make_task(task).train, Net(learner.model)
    total = tensors.zeros_like(learner.model.trainable())
    for i in range(len(part)):
        raw, y = part.batch(torch.tensor([i]))
        loss = F.cross_entropy(net(learner.preprocess(raw, None), task), learner.targets(y, task))
        weight = float((-loss.detach()).exp()) if weighted else 1.0
        for name, g in net.gradients(loss).items():
            total[name] += weight * g**2 / len(part)
    return total


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_the_fisher_is_the_mean_over_samples_of_squared_gradients(weights: Weights) -> None:
    for fisher in ("empirical", "true_class"):
        learner = learner_on(weights)
        expected = slow_fisher(learner, 0, weighted=fisher == "true_class")
        method = EWC(fisher=fisher)  # pyright: ignore[reportArgumentType]
        state = method.end_task(method.init(learner), learner, make_task(0), generator(0))
        assert state.importance.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(state.importance[name], value, atol=1e-7, rtol=1e-4)
        assert sum(float(value.sum()) for value in expected.values()) > 0


def test_sampled_labels_average_to_the_fisher_proper() -> None:
    learner = learner_on("plain", roles={"layer.0.weight": "frozen", "layer.0.bias": "frozen"})
    part, net = make_task(0).train, Net(learner.model)
    exact = torch.zeros(6)
    for i in range(len(part)):
        p = net(learner.preprocess(part.batch(torch.tensor([i]))[0], None), 0).softmax(1)[0].detach()
        exact += (p * (1 - p)) / len(part)  # E_y (p − onehot y)² for the last bias
    method = EWC(fisher="sampled")
    found = torch.stack(
        [
            method.end_task(method.init(learner), learner, make_task(0), generator(seed)).importance[
                "target.head.bias"
            ]
            for seed in range(200)
        ]
    )
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - exact).abs() < 4 * error).all())


@pytest.mark.parametrize("weights", ALL_WEIGHTS)
def test_separate_penalties_equal_the_sum_over_tasks_written_out(weights: Weights) -> None:
    learner, method = learner_on(weights), EWC(strength=3.0)
    state, fishers, anchors = learn(method, learner, tasks=2)
    batch, values = batch_of(learner, make_task(2)), moved(learner, seed=9)
    found = loss_with(method, net := bound(learner, values), state, batch)[0]
    found = found, net.gradients(found)

    net = bound(learner, values)
    expected = F.cross_entropy(net(batch.x, 2), batch.target)
    for fisher, anchor in zip(fishers, anchors, strict=True):
        for name in fisher:
            if name in net.params:  # rows of finished tasks do not train
                expected = expected + 3.0 / 2 * (fisher[name] * (net.params[name] - anchor[name]) ** 2).sum()
    assert_same(found, (expected, net.gradients(expected)), tol=1e-5)


def test_online_keeps_the_latest_anchor_and_decays_the_older_fisher() -> None:
    learner, method = learner_on("plain"), EWC(strength=3.0, mode="online", decay=0.7)
    state, fishers, anchors = learn(method, learner, tasks=2)
    for name, value in state.importance.items():
        torch.testing.assert_close(value, 0.7 * fishers[0][name] + fishers[1][name], atol=1e-7, rtol=1e-4)
        torch.testing.assert_close(state.anchor[name], anchors[1][name])
    assert float(state.floor) == 0


@pytest.mark.parametrize("mode", ["separate", "online"])
def test_the_penalty_is_0_at_the_last_optimum_and_grows_with_a_step_away(mode: str) -> None:
    learner, method = learner_on("plain"), EWC(mode=mode)  # pyright: ignore[reportArgumentType]
    state, _, _ = learn(method, learner, tasks=1)
    batch = batch_of(learner, make_task(1))
    at_rest = loss_with(method, Net(learner.model), state, batch)[1].terms["ewc"]
    assert float(at_rest) == 0
    after = loss_with(method, bound(learner, moved(learner)), state, batch)[1].terms["ewc"]
    assert float(after) > 0


def test_a_new_task_leaves_its_own_parameters_free() -> None:
    learner, method = learner_on("hyper"), EWC()
    state, _, _ = learn(method, learner, tasks=2)
    fresh = [n for n in learner.model.trainable() if ".embeddings." in n]
    assert fresh and not set(fresh) & set(state.importance)


def test_evaluation_mode_holds_while_gradients_are_taken_and_only_then() -> None:
    net = nn.Sequential()
    for name, layer in {
        "flatten": nn.Flatten(),
        "norm": nn.BatchNorm1d(16),
        "head": nn.Linear(16, 6),
    }.items():
        net.add_module(name, layer)
    learner, method = learner_on("plain", net=net), EWC()
    before = tensors.copy(dict(net.named_buffers()))
    state = method.end_task(method.init(learner), learner, make_task(0), generator(0))
    assert net.training and float(state.importance["target.norm.weight"].sum()) > 0
    for name, value in net.named_buffers():
        assert torch.equal(value, before[name]), name


def test_a_part_of_the_samples_is_enough_if_asked_for() -> None:
    learner = learner_on("plain")
    few = EWC(samples=3)
    first = few.end_task(few.init(learner), learner, make_task(0), generator(0)).importance
    again = few.end_task(few.init(learner), learner, make_task(0), generator(0)).importance
    other = few.end_task(few.init(learner), learner, make_task(0), generator(1)).importance
    name = "target.head.weight"
    assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])


def test_a_parameter_that_no_task_needs_does_no_harm() -> None:
    zero, one = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    state = merged(EWCState(zero, zero, torch.zeros(())), EWCState(zero, one, torch.zeros(())))
    values: list[Tensor] = [state.importance["w"], state.anchor["w"], state.floor]
    assert all(bool(value.isfinite().all()) for value in values) and float(state.floor) == 0


def test_the_order_of_names_is_that_of_the_state() -> None:
    """Sets have another order in another process, and a sum taken in it rounds differently: no resume would be exact."""
    names = [f"layer{i}" for i in range(40)]
    ones = {name: torch.ones(1) for name in names}
    seen: list[str] = []

    class Watched(dict):
        def __getitem__(self, name: str) -> Tensor:
            seen.append(name)
            return super().__getitem__(name)

    first = EWCState(ones, Watched(ones), torch.zeros(()))
    merged(first, EWCState(dict(reversed(ones.items())), ones, torch.zeros(())))
    assert list(dict.fromkeys(seen)) == names
