"""The replay memory by itself."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import mlp, split_stream

import hypermnesia as hm
from hypermnesia.core.rng import generator


def test_it_takes_the_form_of_its_first_batch():
    memory = hm.ReplayMemory(4)
    assert (len(memory), memory.classes(), memory.tasks()) == (0, {}, {})
    memory.add(torch.ones(3, 2, dtype=torch.float64), torch.tensor([0, 0, 5]), task=2)
    assert (len(memory), memory.classes(), memory.tasks()) == (3, {0: 2, 5: 1}, {2: 3})
    drawn = memory.draw(10)
    assert drawn.x.shape == (3, 2) and drawn.x.dtype == torch.float64 and drawn.logits is None
    assert repr(memory) == "ReplayMemory(3 of 4 samples, reservoir)"


def test_logits_come_back_with_their_samples_and_shares_with_their_tasks():
    memory = hm.ReplayMemory(6, "class-balanced", seed=1)
    for task in range(2):
        y = torch.full((3,), task)
        memory.add(y[:, None].float(), y, task, logits=F.one_hot(y, 2).float())
    drawn = memory.draw(4, tasks=[1, 0])
    assert drawn.y.tolist() == [1, 1, 0, 0]
    assert torch.equal(drawn.logits, F.one_hot(drawn.y, 2).float())


def test_numbers_come_back_as_they_are():
    memory = hm.ReplayMemory(4)
    memory.add(torch.ones(2, 3), torch.tensor([0.5, -1.25]))
    assert sorted(memory.draw(2).y.tolist()) == [-1.25, 0.5]
    with pytest.raises(hm.HypermnesiaError, match="memory.policy=ring goes by classes; of numbers take"):
        hm.ReplayMemory(4, "ring").add(torch.ones(2, 3), torch.tensor([0.5, -1.25]))


def test_it_keeps_no_graph():
    memory = hm.ReplayMemory(2)
    memory.add(torch.ones(2, 1, requires_grad=True) * 2, torch.zeros(2, dtype=torch.int64))
    assert not memory.draw(2).x.requires_grad


def test_errors_say_what_to_do():
    with pytest.raises(hm.HypermnesiaError, match="the replay memory is empty: add a batch before drawing"):
        hm.ReplayMemory(2).draw(1)
    with pytest.raises(hm.HypermnesiaError, match="memory.size=0: a replay memory needs at least one slot"):
        hm.ReplayMemory(0)
    for policy in ("herding", "greedy", "lars"):
        with pytest.raises(hm.HypermnesiaError, match=f"unknown memory policy '{policy}'; .*frequency-aware"):
            hm.ReplayMemory(2, policy)


def test_a_loop_by_hand_is_er():
    """Equal seeds, network, batches, optimizer: equal bits of every weight, and equal memories."""
    stream, net = split_stream(), mlp(6)
    twin = copy.deepcopy(net)
    run = hm.Fit(
        hm.model_for(stream, twin),
        stream,
        hm.ER(memory=hm.MemoryOptions(size=9, batch_size=4)),
        hm.TrainOptions(epochs=2, batch_size=5, threads=1),
        hm.OptimizerOptions(name="sgd", lr=0.1),
    )
    for _ in run:
        pass

    memory, order = hm.ReplayMemory(9), generator(0, "order")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, foreach=False)
    for task in stream.tasks:
        positions = hm.loader(stream, task.train, 5, order)
        for _ in range(2):
            for x, y in positions:
                seen = x, y
                if len(memory):
                    drawn = memory.draw(4)
                    x, y = torch.cat([x, drawn.x]), torch.cat([y, drawn.y])
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
                memory.add(*seen, task.index)
    held = run.learner.state.memory
    assert torch.equal(stream.preprocess(held.x), memory.held.x)
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
