"""Learners on generated and masked weights, and tasks made of random images."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Preprocess, Task, from_tensors, split
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.combine import CombinedState, combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.weights.compose import MaskOptions, SemiBinaryMask
from hypermnesia.weights.hypernets.dense import DenseOptions
from hypermnesia.weights.model import WRITTEN, Model, Role
from hypermnesia.weights.outputs import Head, HeadKind

Weights = Literal["plain", "hyper", "mask"]
SHAPE = (1, 4, 4)
CLASSES = ((0, 1), (2, 3), (4, 5))
HEADS: dict[Weights, HeadKind] = {"plain": "shared", "hyper": "per_task", "mask": "per_task"}

torch.set_num_threads(1)


def small_net(outputs: int, seed: int = 0, norm: bool = False) -> nn.Sequential:
    """flatten, a tanh layer (with a norm if asked), a classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle = nn.Sequential(nn.Linear(16, 8), nn.LayerNorm(8) if norm else nn.Identity(), nn.Tanh())
        layers = {"flatten": nn.Flatten(), "layer": middle, "head": nn.Linear(8, outputs)}
        net = nn.Sequential()
        for name, layer in layers.items():
            net.add_module(name, layer)
        return net


def learner_on(
    weights: Weights,
    tasks: int = 1,
    head: HeadKind | None = None,
    roles: dict[str, Role] | None = None,
    mask: MaskOptions | None = None,
    net: nn.Module | None = None,
    seed: int = 0,
) -> Learner:
    """A learner at the start of its last of `tasks` tasks; masked weights leave the last bias shared."""
    labels = Head(head or HEADS[weights], CLASSES, 6)
    net = small_net(labels.width, seed) if net is None else net
    names = [name for name, _ in net.named_parameters()]
    kinds: dict[Weights, Role] = {"plain": "shared", "hyper": "generated", "mask": "masked"}
    own: dict[str, Role] = dict.fromkeys(names, kinds[weights])
    if weights == "mask":
        own["head.bias"] = "shared"
    own |= roles or {}
    shapes = {name: p.shape for name, p in net.named_parameters() if own[name] in WRITTEN}
    options = DenseOptions(embedding=3, hidden=(5,), activation="elu")
    written = options.build(shapes, generator(seed, "generator")) if shapes else None
    compose = SemiBinaryMask(mask or MaskOptions()) if "masked" in own.values() else None
    model = Model(net, labels, own, written, compose)
    learner = Learner({"main": model}, Preprocess((0.5,), (0.5,)), SHAPE, 6, CLASSES)
    for _ in range(tasks):
        next_task(learner)
    return learner


def next_task(learner: Learner) -> None:
    """Grow the model by a task, as `fit` does."""
    learner.task += 1
    learner.model.begin_task(generator(learner.task, "init"))
    learner.model.trainable()


def make_task(index: int, per_class: int = 5, seed: int = 0) -> Task:
    """Task `index` of three: random images of two classes."""
    rng = generator(seed, "images")
    x = torch.randint(256, (6 * per_class, *SHAPE), generator=rng, dtype=torch.uint8)
    y = torch.arange(6).repeat_interleave(per_class)
    source = from_tensors(x, y, x[::per_class], y[::per_class])
    return split(source, tasks=3).tasks[index]


def batch_of(learner: Learner, task: Task, size: int = 6, seed: int = 0) -> Batch:
    """Random samples of a task."""
    raw, y = task.train.batch(torch.randperm(len(task.train), generator=generator(seed, "batch"))[:size])
    return Batch(learner.preprocess(raw, None), y, learner.targets(y, task.index), task.index, raw)


def moved(learner: Learner, step: float = 0.1, seed: int = 0) -> Tensors:
    """The trainable parameters after a random step; the model itself is not changed."""
    rng = generator(seed, "step")
    return {
        name: value.detach() + step * torch.randn(value.shape, generator=rng)
        for name, value in learner.model.trainable().items()
    }


def move(learner: Learner, step: float = 0.1, seed: int = 0) -> None:
    """Change the trainable parameters by a random step."""
    values = moved(learner, step, seed)
    with torch.no_grad():
        for name, value in learner.model.trainable().items():
            value.copy_(values[name])


def bound(learner: Learner, values: Tensors) -> Net:
    """A net at these parameter values, differentiable in them."""
    return Net(learner.model, {name: value.detach().requires_grad_() for name, value in values.items()})


def at_task(learner: Learner, task: int) -> Learner:
    """The same learner, told that it is at another task."""
    return replace(learner, task=task)


def loss_with(penalty: Penalty, net: Net, state: Any, batch: Batch) -> tuple[Tensor, Aux]:
    """The loss of fine-tuning under a penalty."""
    joined = CombinedState(None, (state,))
    return combine(Finetune(), penalty).loss(net, joined, batch, (None, {0: None}))
