"""X-DER: remembered logits are filled in later, and outputs that are not in use are kept low.

Its three steps per task stand under "What runs"; here are its parts, and `rpc`.
"""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import (
    SHAPE,
    assert_same,
    loss_and_gradients,
    make_batch,
    make_learner,
    make_stream,
    slow_gradients,
)
from small import permuted_stream

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Aux, Learner, Step
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.methods.xder import XDER, scaled
from hypermnesia.nets.classifiers import with_classifier
from hypermnesia.nets.mlp import MLPOptions

RPC = XDER(variant="rpc", eta=0.5, memory=MemoryOptions(size=12, batch_size=5, policy="class-balanced"))


def simplex_learner(task: int) -> Learner:
    net = MLPOptions(hidden=(8,), activation="tanh").build(SHAPE, 6)
    return make_learner(net=with_classifier(net, "simplex", 1.0, 5), task=task)


def test_rpc_one_step_equals_the_formula_written_out() -> None:
    torch.manual_seed(0)  # so that some gaps are above the margin
    learner = simplex_learner(1)
    state, stream = RPC.init(learner), make_stream()
    state = RPC.end_task(state, learner, stream.tasks[0], generator(0))
    state, batch = RPC.begin_task(state, learner), make_batch(learner)
    state.memory.logits.add_(torch.randn(state.memory.logits.shape, generator=generator(1)))
    draw = RPC.draw(state, learner, batch, generator(0))
    assert draw is not None and 0 < int((~draw.first).sum())
    model = learner.model
    own = [
        F.cross_entropy(model(x[None], 1)[:, 2:4], y[None] - 2) for x, y in zip(batch.x, batch.y, strict=True)
    ]
    expected = torch.stack(own).mean()
    rows = {0: [], 1: []}
    for k, replay in enumerate((draw.by_logits, draw.by_labels)):
        rows[k] = [model(x[None], 1)[0] for x in replay.x]
    squares = [(row - z) ** 2 for row, z in zip(rows[0], draw.by_logits.logits, strict=True)]
    expected = expected + 0.3 * torch.cat(squares).mean()
    labels = [
        F.cross_entropy(row[None, :2], y[None]) for row, y in zip(rows[1], draw.by_labels.y, strict=True)
    ]
    expected = expected + 0.8 * torch.stack(labels).mean()
    slots = {}
    for replay, found in zip((draw.by_logits, draw.by_labels), rows.values(), strict=True):
        for row, slot, y in zip(found, replay.index.tolist(), replay.y.tolist(), strict=True):
            slots.setdefault(slot, (row, y // 2))
    pairs = [(model(x[None], 1)[0], 1) for x in batch.x] + list(slots.values())
    gaps = [row[4:].max() + 0.3 - row[2 * task : 2 * task + 2].max() for row, task in pairs]
    above = [gap for gap in gaps if gap > 0]
    expected = expected + 0.5 * torch.stack(above).mean()
    found = loss_and_gradients(RPC, learner, state, batch, draw)
    assert_same(found, slow_gradients(learner, expected), tol=3e-6)


def test_logits_put_in_stay_below_that_of_the_true_class() -> None:
    old = torch.tensor([[2.0, 1.0, 9.0, 9.0], [2.0, 1.0, 9.0, 9.0]])
    new = torch.tensor([[7.0, 7.0, 4.0, 1.0], [7.0, 7.0, 1.0, 0.5]])
    outputs = torch.tensor([False, False, True, True])
    found = scaled(old, new, torch.tensor([0, 0]), outputs, gamma=0.8)
    expected = torch.tensor([[2.0, 1.0, 1.6, 0.4], [2.0, 1.0, 1.0, 0.5]])
    torch.testing.assert_close(found, expected)
    assert torch.equal(scaled(old, new, torch.tensor([0, 0]), outputs & False, 0.8), old)


def test_a_finished_task_fills_the_memory_with_its_classes_and_its_outputs() -> None:
    learner, stream = simplex_learner(0), make_stream()
    state = RPC.init(learner)
    batch = make_batch(learner)
    said = learner.model(batch.x, 0).detach()
    state = RPC.after_step(state, learner, Step(batch, None, Aux(logits=said)), generator(0))
    assert state.memory.filled == 0  # rpc rehearses nothing in its first task
    state = RPC.end_task(state, learner, stream.tasks[0], generator(0))
    assert state.memory.classes() == {0: 6, 1: 6}
    remembered = state.memory.logits.clone()
    with torch.no_grad():
        for p in learner.model.parameters():
            p.add_(0.3)
    learner = simplex_learner(1)
    state = RPC.end_task(RPC.begin_task(state, learner), learner, stream.tasks[1], generator(0))
    memory = state.memory
    assert memory.classes() == {0: 3, 1: 3, 2: 3, 3: 3}
    held = memory.task[: memory.filled] == 0
    rows = memory.logits[held]
    assert all(any(torch.equal(row[:2], old[:2]) for old in remembered) for row in rows)
    x = learner.preprocess(memory.x[held], None)
    now = learner.model(x, 1).detach()
    expected = scaled(rows, now, memory.y[held], torch.tensor([0, 0, 1, 1, 1, 1], dtype=torch.bool), 0.85)
    torch.testing.assert_close(rows, expected)


def test_bad_input() -> None:
    with pytest.raises(
        HypermnesiaError, match=r"^xder compares outputs of all tasks: take weights=plain with"
    ):
        RPC.init(make_learner(head="per_task"))
    with pytest.raises(
        HypermnesiaError, match=r"^xder needs tasks with classes of their own, and in .* classes come again"
    ):
        RPC.check(permuted_stream())
