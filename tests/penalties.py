"""A learner on generated weights in the middle of its stream, and its penalties worked out the slow way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import small
import torch
from torch import Tensor

from hypermnesia.core import optim
from hypermnesia.core.lookahead import candidate
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.combine import Combined, combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Batch, Learner, Net
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.weights import DenseOptions
from hypermnesia.weights.options import Hyper, Weights

WRITER = DenseOptions(embedding=3, hidden=(4,), activation="tanh")


@dataclass
class Scene:
    """A run's parts at one step of task 2, in float64, without a loop around them."""

    learner: Learner
    method: Combined
    state: Any
    batch: Batch
    stream: Stream

    @property
    def net(self) -> Net:
        return Net(self.learner.model)

    def draw(self, seed: int = 0) -> Any:
        return self.method.draw(self.state, self.learner, self.batch, generator(seed, "draw"))

    def move(self, size: float = 0.1, seed: int = 0) -> "Scene":
        """Take a random step away from the snapshot."""
        with torch.no_grad():
            for name, p in self.learner.model.trainable().items():
                p.add_(size * torch.randn(p.shape, generator=generator(seed, name)))
        return self

    def task_gradient(self) -> Tensors:
        value, _ = self.method.method.loss(self.net, None, self.batch, None)
        return self.net.gradients(value)

    def written(self, tasks: Sequence[int], params: Tensors | None = None) -> list[Tensors]:
        """Task by task, what the generator writes (with gradients)."""
        net = self.net if params is None else self.net.at(params)
        found = []
        for task in tasks:
            values = net.generate([task])
            assert isinstance(values, dict)
            found.append({name: value[0] for name, value in values.items()})
        return found


def scene(
    *penalties: Penalty, weights: Weights | None = None, tasks: int = 3, seed: int = 0, **drift: Any
) -> Scene:
    """Task `tasks` − 1 of a stream has just begun under the given penalties (default: a drift of these options)."""
    stream = small.split_stream(tasks)
    model = small.model(stream, weights or Hyper(), writer=WRITER, seed=seed).to(torch.float64)
    learner = Learner(
        {"main": model},
        stream.preprocess,
        stream.shape,
        stream.num_classes,
        tuple(t.classes for t in stream.tasks),
    )
    method = combine(Finetune(), *(penalties or (Drift(**{"beta": 0.3} | drift),)))
    assert isinstance(method, Combined)
    state = method.init(learner)
    for task in stream.tasks:
        learner.task = task.index
        model.begin_task(generator(seed, "grow", task.index))
        model.trainable()
        state = method.begin_task(state, learner)
        if task.index + 1 < tasks:
            state = method.end_task(state, doubled(learner), task, generator(seed, "end"))
    return Scene(doubled(learner), method, state, batch_of(learner, stream.tasks[-1]), stream)


def doubled(learner: Learner) -> Learner:
    """The learner with inputs in float64."""

    class Doubled:
        def __call__(self, raw: Tensor, rng: torch.Generator | None = None) -> Tensor:
            return learner.preprocess(raw, rng).double()

    return replace(learner, preprocess=Doubled())


def batch_of(learner: Learner, task: Task, size: int = 6) -> Batch:
    raw, y = task.train.batch(torch.arange(size))
    x = learner.preprocess(raw, None).double()
    return Batch(x, y, learner.targets(y, task.index), task.index, raw)


def slow_distances(now: Sequence[Tensors], then: Sequence[Tensors]) -> Tensor:
    """Squared distance of every task's tensors, task by task and tensor by tensor."""
    total = []
    for a, b in zip(now, then, strict=True):
        total.append(sum((a[name] - b[name]).square().sum() for name in a))
    return torch.stack([torch.as_tensor(value) for value in total])


def step_of(scene: Scene, options: OptimizerOptions) -> tuple[Any, Tensors]:
    """(candidate function, the change that the optimizer really makes with the task's gradient)."""
    params = scene.learner.model.trainable()
    optimizer = optim.build(options, params)
    gradient = scene.task_gradient()
    before = {name: p.detach().clone() for name, p in params.items()}
    for name, p in params.items():
        p.grad = gradient.get(name)
    optimizer.step()
    change = {name: p.detach() - before[name] for name, p in params.items() if name in gradient}
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(before[name])
    fresh = optim.build(options, params)
    return (lambda gradients, plain=False: candidate(fresh, gradients, plain=plain)), change
