"""GDumb: a balanced memory, and a network that is trained on it alone."""

from typing import Any

import pytest
import torch
from methods.helpers import (
    SHAPE,
    UNEVEN,
    assert_same,
    loss_and_gradients,
    make_batch,
    make_learner,
    make_model,
    make_stream,
    offer,
    slow_cross_entropy,
    slow_gradients,
)

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.methods.gdumb import GDumb
from hypermnesia.methods.learner import Batch, Learner, Phase
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Remembered
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions

MEMORY = MemoryOptions(size=12, policy="class-balanced")
METHOD = GDumb(cutmix=1.0, memory=MEMORY)


def collected(learner: Learner, method: GDumb = METHOD) -> Any:
    """State after the stream has gone by, the learner in the phase that studies the memory."""
    state = method.init(learner)
    learner.phase = Phase("collect", trains=False)
    for task in range(learner.task + 1):
        for seed in range(3):
            batch = make_batch(learner, size=10, task=task, seed=seed)
            assert method.draw(state, learner, batch, generator(0)) is None
            state = offer(method, state, learner, batch, seed)
    learner.phase = GDumb(every_task=True).phases(learner)[1]
    return state


def memory_batch(method: GDumb, state: Any, learner: Learner, size: int = 6) -> Batch:
    """The first samples of the memory, as the training loop hands them over."""
    raw, y = Remembered(state.memory).batch(torch.arange(size))
    return Batch(learner.preprocess(raw, None), y, learner.targets(y, learner.task), learner.task, raw)


@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_one_step_equals_the_formula_written_out(head: Any) -> None:
    learner = make_learner(head, task=2, classes=UNEVEN)
    state = collected(learner)
    batch = memory_batch(METHOD, state, learner)
    draw = METHOD.draw(state, learner, batch, generator(1))
    assert draw is not None and draw.mix is not None and 0 < float(draw.mix.own) < 1

    source = batch if draw.replay is None else draw.replay
    owners = (
        [2] * 6
        if draw.replay is None
        else [b.task for b in draw.replay.blocks for _ in range(b.start, b.stop)]
    )
    assert len(set(owners)) == (1 if head == "shared" else 3)
    partner, patch = draw.mix.partner.tolist(), draw.mix.patch
    share = 1 - sum(patch.flatten().tolist()) / patch.numel()
    expected = torch.zeros(())
    for i, owner in enumerate(owners):
        assert owners[partner[i]] == owner
        x = source.x[i].clone()
        for row in range(SHAPE[1]):
            for column in range(SHAPE[2]):
                if patch[row, column]:
                    x[:, row, column] = source.x[partner[i], :, row, column]
        logits = learner.model(x[None], owner)[0]
        own, theirs = (slow_cross_entropy(logits, int(source.target[k])) for k in (i, partner[i]))
        expected = expected + (share * own + (1 - share) * theirs) / len(owners)

    assert_same(loss_and_gradients(METHOD, learner, state, batch, draw), slow_gradients(learner, expected))


def test_the_memory_is_balanced_and_holds_what_came_by() -> None:
    learner = make_learner(task=2)
    state = collected(learner)
    assert state.memory.classes() == dict.fromkeys(range(6), 2)
    assert learner.phase.data is not None
    part = learner.phase.data(state, learner)
    raw, y = part.batch(torch.tensor([3, 0]))
    assert len(part) == 12
    assert torch.equal(raw, state.memory.x[[3, 0]]) and torch.equal(y, state.memory.y[[3, 0]])


def test_studying_the_memory_does_not_change_it() -> None:
    learner = make_learner(task=2)
    state = collected(learner)
    seen = state.memory.seen
    state = offer(METHOD, state, learner, memory_batch(METHOD, state, learner))
    assert state.memory.seen == seen


def test_only_images_in_colour_are_mixed_unless_asked() -> None:
    """The paper mixes on CIFAR, not on MNIST."""
    found = []
    for channels in (1, 3):
        learner = make_learner(task=2)
        learner.shape = (channels, *learner.shape[1:])
        method = GDumb(memory=MEMORY)
        state = collected(make_learner(task=2), method)
        batch = memory_batch(method, state, make_learner(task=2))
        learner.phase = method.phases(learner)[-1]
        draw = method.draw(state, learner, batch, generator(0))
        assert draw is not None
        found.append(draw.mix is not None)
    assert found == [False, True]


def test_a_batch_is_mixed_as_often_as_asked_and_keeps_its_share() -> None:
    method = GDumb(cutmix=0.25, memory=MEMORY)
    learner = make_learner(task=2)
    state, rng = collected(learner, method), generator(0)
    batch = memory_batch(method, state, learner)
    mixed = 0
    for _ in range(400):
        draw = method.draw(state, learner, batch, rng)
        assert draw is not None and draw.mix is not None
        assert float(draw.mix.own) == pytest.approx(1 - float(draw.mix.patch.float().mean()))
        mixed += float(draw.mix.own) < 1
    assert 30 < mixed < 130  # 100 expected, less the rectangles of no pixel


def test_phases() -> None:
    learner = make_learner(task=1)
    assert [(p.name, p.trains, p.epochs) for p in METHOD.phases(learner)] == [("collect", False, 1)]
    learner.task = 2
    study = METHOD.phases(learner)[1]
    assert study.data is not None and (study.restart, study.epochs, study.batch_size) == (True, 256, 16)
    assert study.optimizer is not None
    assert (study.optimizer.lr, study.optimizer.momentum, study.optimizer.weight_decay) == (0.05, 0.9, 1e-6)
    learner.task = 0
    assert len(GDumb(every_task=True).phases(learner)) == 2


def test_a_run_studies_once_at_the_end_from_the_initial_parameters() -> None:
    stream = make_stream()
    fast = OptimizerOptions(name="adam", lr=0.01, schedule="cosine")
    method = GDumb(
        epochs=40, cutmix=0.5, optimizer=fast, memory=MemoryOptions(size=24, policy="class-balanced")
    )
    run = Fit(make_model(), stream, method, TrainOptions(epochs=2, batch_size=8))
    steps = [(e.task, e.phase) for e in run if isinstance(e, StepDone)]
    assert [s for s in steps if s[1] == "collect"] == [(t, "collect") for t in range(3) for _ in range(3)]
    assert [s for s in steps if s[1] == "study"] == [(2, "study")] * 80  # 24 samples by 16, 40 times
    assert run.learner.state.memory.classes() == dict.fromkeys(range(6), 4)
    accuracies = run.records.rows["class"][-1]
    assert all(a is not None and a > 0.7 for a in accuracies)


def test_bad_input() -> None:
    learner = make_learner()
    learner.shape = (12,)
    with pytest.raises(HypermnesiaError, match=r"samples have the shape \(12,\): set gdumb\.cutmix=0$"):
        METHOD.init(learner)
