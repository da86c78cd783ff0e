"""iCaRL: herded exemplars, distilled outputs, nearest class means."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import (
    assert_same,
    loss_and_gradients,
    make_batch,
    make_learner,
    make_model,
    make_stream,
    slow_gradients,
)
from torch import nn

from hypermnesia.core import tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.methods.icarl import ICaRL
from hypermnesia.methods.learner import Batch, Learner, Net
from hypermnesia.methods.replay.herding import herding
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.training.batches import Joined
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.model import evaluating

METHOD = ICaRL(memory=MemoryOptions(size=8, batch_size=5, policy="herding"))


class Normed(nn.Sequential):
    """A network whose answers differ between training and evaluation."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6))


def second_task(**setting: Any) -> tuple[Learner, Any]:
    """A learner that ended its first task, moved since, and has begun its second."""
    learner = make_learner(task=0, **setting)
    state = METHOD.begin_task(METHOD.init(learner), learner)
    state = METHOD.end_task(state, learner, make_stream().tasks[0], generator(0))
    learner.task = 1
    learner.model.begin_task(generator(1))
    learner.model.trainable()
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(2)))
    return learner, METHOD.begin_task(state, learner)


@pytest.mark.parametrize("setting", [{}, {"role": "per_task"}, {"head": "per_task"}])
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    learner, state = second_task(**setting)
    batch = make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw.replay is not None and learner.model.head is not None
    shared = learner.model.head.kind == "shared"
    old = make_learner(task=1, **setting)
    with torch.no_grad():
        for name, value in state.old.items():
            old.model.stored()[name].copy_(value)

    terms = []
    block = draw.replay.blocks[0]
    rows = [
        (x, y, 1, max(1 - int(learner.model.depends_on_task), 0))
        for x, y in zip(batch.x, batch.y, strict=True)
    ]
    rows += [(x, y, block.task, block.task) for x, y in zip(draw.replay.x, draw.replay.y, strict=True)]
    for x, y, task, teacher in rows:
        outputs = learner.model.head.outputs(task)
        logits = learner.model(x[None], task)[0]
        for c, logit in zip(outputs, logits, strict=True):
            if c not in (0, 1, 2, 3):  # not seen so far
                continue
            target = float(c == int(y))
            if c in (0, 1) and (shared or task == 0):  # an old class, and the old network has an answer
                column = outputs.index(c)
                target = float(torch.sigmoid(old.model(x[None], teacher)[0].detach()[column]))
            p = torch.sigmoid(logit)
            terms.append(-target * torch.log(p) - (1 - target) * torch.log(1 - p))
    expected = slow_gradients(learner, torch.stack(terms).mean())

    assert_same(loss_and_gradients(METHOD, learner, state, batch, draw), expected, tol=3e-6)


def test_the_old_network_answers_in_evaluation_mode_and_keeps_its_statistics() -> None:
    learner, state = second_task(net=Normed())
    batch = make_batch(learner)
    before = tensors.copy(learner.model.stored()), tensors.copy(state.old)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert learner.model.training
    for kept, now in zip(before, (learner.model.stored(), state.old), strict=True):
        assert all(torch.equal(kept[name], now[name]) for name in kept)
    old = make_model(net=Normed()).eval()
    old.load_state_dict(state.old)
    torch.testing.assert_close(draw.target[:, :2], torch.sigmoid(old(batch.x, 0))[:, :2].detach())


def test_exemplars_are_herded_on_normalised_features_and_shared_equally() -> None:
    learner, state = make_learner(task=0), METHOD.init(make_learner(task=0))
    tasks = make_stream().tasks
    for task in tasks[:2]:
        learner.task = task.index
        state = METHOD.end_task(METHOD.begin_task(state, learner), learner, task, generator(0))
        assert sum(state.memory.classes().values()) == 8
    assert state.memory.classes() == dict.fromkeys(range(4), 2)

    raw, y = tasks[1].train.batch(torch.arange(len(tasks[1].train)))
    chosen = raw[y == 2]
    features, _ = Net(learner.model).features(learner.preprocess(chosen, None), 1)
    expected = chosen[herding(F.normalize(features.detach()), 2)]
    held = state.memory.x[: state.memory.filled][state.memory.y[: state.memory.filled] == 2]
    assert {tuple(i.flatten().tolist()) for i in held} == {tuple(i.flatten().tolist()) for i in expected}


@pytest.mark.parametrize(
    ("flip", "trained", "mirrors"), [(True, False, True), (None, True, True), (None, False, False)]
)
def test_scores_are_distances_to_the_class_means(flip: bool | None, trained: bool, mirrors: bool) -> None:
    method = replace(METHOD, flip=flip)
    learner = make_learner(task=0)
    learner.preprocess = replace(learner.preprocess, flip=trained)
    state = method.begin_task(method.init(learner), learner)
    state = method.end_task(state, learner, make_stream().tasks[0], generator(0))
    x = make_batch(learner).x
    scores = method.scores(state, learner, x, 0)
    assert scores is not None and torch.isneginf(scores[:, 2:]).all()

    def feature(image: torch.Tensor) -> torch.Tensor:
        own = Net(learner.model).features(image[None], 0)[0][0].detach()
        return own / own.norm()

    memory = state.memory
    for c in (0, 1):
        exemplars = learner.preprocess(memory.x[: memory.filled][memory.y[: memory.filled] == c], None)
        seen = [*exemplars, *(exemplars.flip(-1) if mirrors else [])]
        mean = torch.stack([feature(image) for image in seen]).mean(0)
        mean = mean / mean.norm()
        for i in range(len(x)):
            expected = -((feature(x[i]) - mean) ** 2).sum()
            torch.testing.assert_close(scores[i, c].detach(), expected, rtol=1e-4, atol=1e-5)


def test_while_a_task_trains_the_outputs_answer() -> None:
    learner, state = second_task()
    assert METHOD.scores(state, learner, make_batch(learner).x, 1) is None


@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_a_run_remembers_its_first_task(head: Any) -> None:
    stream = make_stream()
    method = ICaRL(memory=MemoryOptions(size=18, batch_size=12, policy="herding"))
    model = make_model(head, tuple(task.classes for task in stream.tasks))
    run = Fit(model, stream, method, TrainOptions(epochs=20, batch_size=10), OptimizerOptions(lr=0.02))
    for _ in run:
        pass
    assert run.learner.state.memory.classes() == dict.fromkeys(range(6), 3)
    scenario = "class" if head == "shared" else "task"
    assert all(a is not None and a > 0.8 for a in run.records.rows[scenario][-1])


def test_bad_input() -> None:
    with pytest.raises(HypermnesiaError, match=r"^icarl: memory\.policy=reservoir must be herding$"):
        ICaRL(memory=MemoryOptions())
    learner = make_learner()
    learner.shape = (12,)
    with pytest.raises(HypermnesiaError, match=r"samples have the shape \(12,\): set icarl\.flip=false$"):
        replace(METHOD, flip=True).init(learner)


def test_merged_exemplars_are_samples_of_the_task() -> None:
    """The loss of a batch of new and old samples, written out: labels for new outputs, the old network's for the others."""
    method = replace(METHOD, merged=True)
    learner, state = second_task()
    [phase] = method.phases(learner)
    assert phase.beside is not None
    task = make_stream().tasks[1].train
    both = Joined(task, phase.beside(state, learner))
    assert len(both) == len(task) + state.memory.filled
    raw, y = both.batch(torch.tensor([0, len(task), 3, len(task) + 2]))
    assert torch.equal(y, torch.stack([task.y[0], state.memory.y[0], task.y[3], state.memory.y[2]]))
    x = learner.preprocess(raw, None)
    batch = Batch(x, y, learner.targets(y, 1), 1, raw)
    draw = method.draw(state, learner, batch, generator(0))
    loss, _ = method.loss(Net(learner.model), state, batch, draw)
    with torch.no_grad(), evaluating(learner.model):
        old = torch.sigmoid(Net(learner.model, state.old)(x, 1))
    target = F.one_hot(y, 6).float()
    target[:, :2] = old[:, :2]
    expected = F.binary_cross_entropy_with_logits(Net(learner.model)(x, 1)[:, :4], target[:, :4])
    torch.testing.assert_close(loss, expected)


def test_exemplars_merge_only_where_tasks_share_their_weights() -> None:
    with pytest.raises(HypermnesiaError, match=r"icarl\.merged=true trains old and new samples as one task"):
        replace(METHOD, merged=True).init(make_learner(role="per_task"))
