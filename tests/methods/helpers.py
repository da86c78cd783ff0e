"""Small learners and batches for tests of methods, and the checks that every loss must pass."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Preprocess, Stream, from_tensors, split
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay.rehearsal import Replay
from hypermnesia.nets.mlp import MLPOptions
from hypermnesia.weights.model import Model, Role
from hypermnesia.weights.outputs import Head, HeadKind

SHAPE = (1, 4, 4)
SPLIT = ((0, 1), (2, 3), (4, 5))
"""Three tasks of two classes."""
UNEVEN = ((0, 1), (2, 3, 4), (5,))
"""Three tasks whose own heads differ in width."""

torch.set_num_threads(1)
on_any_weights = pytest.mark.parametrize(
    "setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}]
)
"""Settings of `make_learner`: one head for all, heads of different width, weights of their own for each task."""


def make_model(
    head: HeadKind = "shared",
    classes: tuple[tuple[int, ...], ...] = SPLIT,
    seed: int = 0,
    net: nn.Module | None = None,
    role: Role = "shared",
) -> Model:
    """A tiny tanh perceptron (smooth, so that gradients can be compared tightly) on plain or per-task weights."""
    labels = Head(head, classes, 1 + max(c for own in classes for c in own))
    if net is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = MLPOptions(hidden=(8,), activation="tanh").build(SHAPE, labels.width)
    roles: dict[str, Role] = {name: role for name, _ in net.named_parameters()}
    return Model(net, labels, roles)


def make_learner(
    head: HeadKind = "shared",
    classes: tuple[tuple[int, ...], ...] = SPLIT,
    task: int = 1,
    seed: int = 0,
    net: nn.Module | None = None,
    role: Role = "shared",
    boundaries: bool = True,
) -> Learner:
    """A learner in the middle of `task`, its model grown by the tasks up to it."""
    model = make_model(head, classes, seed, net, role)
    for _ in range(task + 1):
        model.begin_task(generator(seed, "init"))
    model.trainable()
    assert model.head is not None
    learner = Learner(
        models={"main": model},
        preprocess=Preprocess(mean=(0.5,), std=(0.5,)),
        shape=SHAPE,
        num_classes=model.head.num_classes,
        classes=classes,
        boundaries=boundaries,
        task=task,
    )
    return learner


def make_batch(learner: Learner, size: int = 6, task: int | None = None, seed: int = 0) -> Batch:
    """Random images of a task's classes, every class as often as the others."""
    task = learner.task if task is None else task
    rng = generator(seed, "batch", task)
    raw = torch.randint(256, (size, *learner.shape), generator=rng, dtype=torch.uint8)
    own = torch.tensor(learner.classes[task])
    y = own[torch.arange(size) % len(own)]
    return Batch(learner.preprocess(raw, None), y, learner.targets(y, task), task, raw)


def make_stream() -> Stream:
    """Three tasks of two classes, ten noisy copies of one random image for each class; the tests are the same."""
    rng = generator(0, "stream")
    y = torch.arange(60) % 6
    prototypes = torch.randint(64, 192, (6, *SHAPE), generator=rng)
    x = (prototypes[y] + torch.randint(-20, 20, (60, *SHAPE), generator=rng)).to(torch.uint8)
    return split(from_tensors(x, y, x, y), tasks=3, preprocess=Preprocess(mean=(0.5,), std=(0.5,)))


def offer(method: Method, state: Any, learner: Learner, batch: Batch, seed: int = 0) -> Any:
    """State after a step on the batch that moved nothing; what is remembered are the model's present logits."""
    with torch.no_grad():
        aux = Aux(logits=learner.model(batch.x, batch.task))
    return method.after_step(state, learner, Step(batch, None, aux), generator(seed, "offer"))


def fill(method: Method, learner: Learner, size: int = 6, seed: int = 0) -> Any:
    """State of a method that was offered one batch of every task up to the current one.

    The remembered logits are disturbed a little: they come from an earlier network.
    """
    state = method.init(learner)
    for task in range(learner.task + 1):
        state = offer(method, state, learner, make_batch(learner, size, task, seed=seed + 100), seed)
    if state.memory.logits is not None:
        noise = torch.randn(state.memory.logits.shape, generator=generator(seed, "noise"))
        state.memory.logits.copy_(
            torch.where(state.memory.logits > -1e3, state.memory.logits + 0.3 * noise, -1e4)
        )
    return state


def loss_and_gradients(
    method: Method, learner: Learner, state: Any, batch: Batch, draw: Any
) -> tuple[Tensor, Tensors]:
    net = Net(learner.model)
    value, _ = method.loss(net, state, batch, draw)
    return value, net.gradients(value)


def finetune_gradients(learner: Learner, batch: Batch) -> tuple[Tensor, Tensors]:
    """Loss and gradients of plain fine-tuning."""
    net = Net(learner.model)
    value = F.cross_entropy(net(batch.x, batch.task), batch.target)
    return value, net.gradients(value)


def assert_same(found: tuple[Tensor, Tensors], expected: tuple[Tensor, Tensors], tol: float = 1e-6) -> None:
    """Losses and gradients agree; a gradient that one side lacks must be 0 on the other."""
    torch.testing.assert_close(found[0], expected[0], rtol=tol, atol=tol)
    for name in found[1].keys() | expected[1].keys():
        other = found[1].get(name, expected[1].get(name))
        assert other is not None
        zero = torch.zeros_like(other)
        torch.testing.assert_close(
            found[1].get(name, zero),
            expected[1].get(name, zero),
            rtol=10 * tol,
            atol=tol,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def slow_cross_entropy(logits: Tensor, target: int) -> Tensor:
    """−log softmax(logits)[target] of one row, written out."""
    return -(logits[target] - logits.exp().sum().log())


class Midstep:
    """A learner (`setting`: of `make_learner`), a batch, and what `method` draws for it from what `filled` remembers; and the
    parts of losses, sample by sample."""

    def __init__(self, method: Method, filled: Method | None = None, size: int = 6, **setting: Any) -> None:
        self.method, self.learner = method, make_learner(**setting)
        self.state = method.begin_task(fill(filled or method, self.learner), self.learner)
        self.batch = make_batch(self.learner, size)
        self.draw: Any = method.draw(self.state, self.learner, self.batch, generator(0))
        assert self.draw is not None

    def own(self) -> list[Tensor]:
        """The cross-entropy of each sample of the batch."""
        rows = (self.learner.model(x[None], self.batch.task)[0] for x in self.batch.x)
        return [slow_cross_entropy(row, int(t)) for row, t in zip(rows, self.batch.target, strict=True)]

    def again(self, replay: Replay) -> list[Tensor]:
        """That of each rehearsed sample."""
        rows = slow_rows(self.learner, replay)
        return [slow_cross_entropy(row, int(t)) for row, t in zip(rows, replay.target, strict=True)]

    def squares(self, replay: Replay) -> Tensor:
        """The mean squared distance of the rehearsed samples' logits to those remembered."""
        assert replay.logits is not None
        pairs = zip(slow_rows(self.learner, replay), replay.logits, strict=True)
        return torch.cat([(row - then[: len(row)]) ** 2 for row, then in pairs]).mean()

    def assert_loss(self, expected: Tensor, tol: float = 3e-6) -> None:
        """The method's loss and gradients are these."""
        found = loss_and_gradients(self.method, self.learner, self.state, self.batch, self.draw)
        assert_same(found, slow_gradients(self.learner, expected), tol)


def slow_rows(learner: Learner, replay: Replay) -> list[Tensor]:
    """Logits of every rehearsed sample, one forward pass each, with its task's weights and outputs."""
    rows = []
    for block in replay.blocks:
        for i in range(block.start, block.stop):
            rows.append(learner.model(replay.x[i : i + 1], block.task)[0])
    return rows


def slow_gradients(learner: Learner, value: Tensor) -> tuple[Tensor, Tensors]:
    return value, Net(learner.model).gradients(value)


def consecutive(replay: Replay) -> bool:
    """Whether the blocks of a draw cover its rows without gap or overlap."""
    edges = [(b.start, b.stop) for b in replay.blocks]
    return edges[0][0] == 0 and edges[-1][1] == len(replay) and all(a[1] == b[0] for a, b in pairwise(edges))
