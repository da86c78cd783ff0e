"""The hypernetwork by itself: what it writes, how far that drifts, and that a loop by hand is `hm.fit`."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import mlp, split_stream
from torch import nn
from torch.func import functional_call

import hypermnesia as hm
from hypermnesia.core.rng import generator
from hypermnesia.weights import LowRankOptions

SMALL = hm.ChunkedOptions(chunk=50, embedding=3, chunk_embedding=2, hidden=(6,))
GRAM = hm.ChunkedOptions(chunk=40, embedding=1, chunk_embedding=1, hidden=())
"""Long chunks of few inputs: the drift is cheaper by factors."""


def test_it_writes_the_parameters_of_each_task():
    net = mlp(2)
    hnet = hm.Hypernetwork(net, SMALL, tasks=2)
    first, second = hnet(0), hnet(1)
    assert {n: v.shape for n, v in first.items()} == {n: p.shape for n, p in net.named_parameters()}
    assert not torch.equal(first["head.weight"], second["head.weight"])
    assert torch.allclose(
        hnet([0, 1])["head.weight"], torch.stack([first["head.weight"], second["head.weight"]])
    )
    assert functional_call(net, first, torch.zeros(4, 16)).shape == (4, 2)
    assert hnet.num_tasks == 2
    assert not {id(p) for p in hnet.parameters()} & {id(p) for p in net.parameters()}


def test_growing_later_gives_the_same_tasks():
    whole, grown = hm.Hypernetwork(mlp(2), SMALL, tasks=3, seed=5), hm.Hypernetwork(mlp(2), SMALL, seed=5)
    for _ in range(3):
        grown.grow()
    assert torch.equal(whole(2)["head.weight"], grown(2)["head.weight"])
    copied = copy.deepcopy(grown)
    grown.grow(), copied.grow()
    assert torch.equal(grown(3)["head.weight"], copied(3)["head.weight"])


def test_some_parameters_may_stay_the_networks_own():
    assert set(hm.Hypernetwork(mlp(2), SMALL, 1, only=["head"])(0)) == {"head.weight", "head.bias"}
    assert set(hm.Hypernetwork(mlp(2), LowRankOptions(rank=1), 1)(0)) == {"layer.0.weight", "head.weight"}


@pytest.mark.parametrize(("options", "form"), [(SMALL, "direct"), (GRAM, "gram")])
def test_drift_is_the_mean_squared_distance_to_the_snapshot(options, form):
    hnet = hm.Hypernetwork(mlp(2), options, tasks=3)
    then = hnet.snapshot(range(3))
    before = {j: hnet(j) for j in range(3)}
    assert then.form == form
    assert hm.drift(hnet, then).item() == 0
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(0, "moved")))
    distances = [
        sum((value - before[j][name]).square().sum() for name, value in hnet(j).items()) for j in range(3)
    ]
    assert torch.allclose(hm.drift(hnet, then), sum(distances) / 3, rtol=1e-4)
    assert torch.allclose(hm.drift(hnet, then, [2, 0]), (distances[2] + distances[0]) / 2, rtol=1e-4)
    assert hm.drift(hnet, hnet.snapshot([])).item() == 0


def test_a_snapshot_is_without_noise():
    noisy = hm.ChunkedOptions(chunk=50, embedding=3, chunk_embedding=2, hidden=(6,), embedding_noise=1.0)
    hnet = hm.Hypernetwork(mlp(2), noisy, tasks=1)
    then = hnet.snapshot([0])
    assert hnet.training and hm.drift(hnet, then).item() > 0
    assert hm.drift(hnet.eval(), then).item() == 0


def test_what_trains_with_a_task_leaves_the_other_embeddings():
    hnet = hm.Hypernetwork(mlp(2), SMALL, tasks=3)
    own = hnet.trainable(1)
    rest = [p for p in hnet.parameters() if not p.requires_grad]
    assert len(rest) == 2 and all(p.shape == (3,) for p in rest)
    assert len(own) + 2 == len(list(hnet.parameters()))
    assert all(p.requires_grad for p in own)


def test_errors_say_what_to_do():
    hnet = hm.Hypernetwork(mlp(2), SMALL, tasks=1)
    with pytest.raises(hm.HypermnesiaError, match=r"has 1 tasks and was asked for task 1.*call grow"):
        hnet(1)
    with pytest.raises(hm.HypermnesiaError, match=r"task 1 is not in the snapshot, which holds \[0\]"):
        hm.drift(hnet, hnet.snapshot([0]), [1])
    with pytest.raises(hm.HypermnesiaError, match="condition='set' reads a task's samples"):
        hm.Hypernetwork(mlp(2), hm.ChunkedOptions(condition="set"))
    with pytest.raises(
        hm.HypermnesiaError, match="Hypernetwork: expected a network, an nn.Module, got function"
    ):
        hm.Hypernetwork(mlp, SMALL)  # pyright: ignore[reportArgumentType]
    with pytest.raises(hm.HypermnesiaError, match="the pattern 'body' matches no parameter"):
        hm.Hypernetwork(mlp(2), SMALL, only=["body"])


@pytest.mark.parametrize("options", [SMALL, GRAM])
def test_a_loop_by_hand_is_fit(options):
    """Equal seeds, network, batches, optimizer: the weights agree to rounding, the accuracies exactly."""
    stream, beta = split_stream(), 0.1
    net = mlp(2)
    model = hm.model_for(stream, copy.deepcopy(net), "hyper", options)
    method = hm.combine(hm.Finetune(), hm.Drift(beta=beta))
    train = hm.TrainOptions(iterations=12, batch_size=5, threads=1)
    records = hm.fit(model, stream, method, train, optimizer=hm.OptimizerOptions(name="sgd", lr=0.05))

    hnet, order, rows = hm.Hypernetwork(net, options, tasks=3), generator(0, "order"), []
    for task in stream.tasks:
        then = hnet.snapshot(range(task.index))
        optimizer = torch.optim.SGD(hnet.trainable(task.index), lr=0.05)
        for x, y in hm.loader(stream, task.train, 5, order, steps=12):
            logits = functional_call(net, hnet(task.index), x)
            loss = F.cross_entropy(logits, y - task.classes[0]) + beta * hm.drift(hnet, then)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rows.append([accuracy(net, hnet, stream, seen) for seen in stream.tasks[: task.index + 1]])
    for task in range(3):
        written = model.written([task])
        for name, value in hnet(task).items():
            assert torch.allclose(value, written[name][0], rtol=1e-3, atol=1e-5)
    assert rows == [row[: t + 1] for t, row in enumerate(records.rows["task"])]


@torch.no_grad()
def accuracy(net: nn.Module, hnet: hm.Hypernetwork, stream: hm.Stream, task: hm.Task) -> float:
    [(x, y)] = hm.loader(stream, task.test, len(task.test))
    answers = functional_call(net, hnet(task.index), x).argmax(1) + task.classes[0]
    return float((answers == y).double().mean())
