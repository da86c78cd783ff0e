"""Slow twins: the same step as the published code arranges it, written from the papers and without its mistakes."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from hypermnesia.core.tensors import Tensors, copy
from hypermnesia.weights.hypernets.base import Generator
from hypermnesia.weights.model import Model


def written(generator: Generator, params: Tensors, tasks: Sequence[int]) -> Tensors:
    """What the generator writes for `tasks` at other parameters."""
    return functional_call(generator, params, (tasks,))


def distance_by_loop(generator: Generator, params: Tensors, targets: Sequence[Tensors]) -> Tensor:
    """Mean over tasks of ‖h(e_j) − target_j‖²: one forward pass after another, as hypnettorch has it."""
    total = torch.zeros(())
    for task, target in enumerate(targets):
        now = written(generator, params, [task])
        total = total + torch.stack([(now[name] - target[name]).square().sum() for name in now]).sum()
    return total / len(targets)


def hypernetwork_step(
    model: Model, task: int, x: Tensor, y: Tensor, beta: float, optimizer: torch.optim.Optimizer
) -> Callable[[], None]:
    """A step of a full or masking hypernetwork: one pass for the current task, then one for each earlier task."""
    generator = model.generator
    assert generator is not None
    with torch.no_grad():
        targets = [copy(generator([j])) for j in range(task)]

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x, task), y)
        if targets:
            loss = loss + beta * distance_by_loop(generator, dict(generator.named_parameters()), targets)
        loss.backward()
        optimizer.step()

    return step


def partial_step(
    model: Model,
    task: int,
    x: Tensor,
    y: Tensor,
    strength: float,
    ahead: float,
    optimizer: torch.optim.Optimizer,
    everything: bool = False,
) -> Callable[[], None]:
    """A step of a partial hypernetwork: weights generated for every sample, and the penalty at θ − ahead · ∇ task by
    task, for the old generator and the new one, with a graph for both. `everything`: also what the published step does
    beside that: both generators copied anew, and a backward pass more for the angle between the two gradients."""
    generator = model.generator
    assert generator is not None
    old = {name: value.detach().clone().requires_grad_() for name, value in generator.named_parameters()}
    own: dict[str, Any] = {n: v for n, v in model.overlay(task).items() if n not in generator.shapes}

    def of_one(weights: Tensors, sample: Tensor) -> Tensor:
        return functional_call(model.target, own | weights, (sample[None],), tie_weights=False)[0]

    def step() -> None:
        if everything:
            copies = deepcopy(generator), deepcopy(generator)
            del copies
        params = dict(generator.named_parameters())
        optimizer.zero_grad()
        loss = F.cross_entropy(vmap(of_one)(generator([task] * len(x)), x), y)
        loss.backward(retain_graph=False)
        shifted = {n: p if p.grad is None else p - ahead * p.grad.detach() for n, p in params.items()}
        total = torch.zeros(())
        for j in range(task):
            now, then = written(generator, shifted, [j]), written(generator, old, [j])
            total = total + torch.stack([(now[n] - then[n].detach()).square().sum() for n in now]).sum()
        if everything:
            _angle(
                params,
                torch.autograd.grad(total, list(params.values()), retain_graph=True, allow_unused=True),
            )
        (strength / task * total).backward()
        optimizer.step()

    return step


def _angle(params: Mapping[str, Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """The cosine between the parameters' gradients and these."""
    pairs = [
        (p.grad, g)
        for p, g in zip(params.values(), gradients, strict=True)
        if p.grad is not None and g is not None
    ]
    first, second = (torch.cat([each.flatten() for each in side]) for side in zip(*pairs, strict=True))
    return F.cosine_similarity(first, second, dim=0)


def accuracy_by_loop(model: Model, x: Tensor, tasks: int, batch_size: int) -> Callable[[], Tensor]:
    """Entropy inference that builds every task's weights anew for every batch, and looks at one task at a time."""

    @torch.no_grad()
    def run() -> Tensor:
        model.eval()
        guesses = []
        for batch in x.split(batch_size):
            uncertain = []
            for task in range(tasks):
                log = F.log_softmax(model(batch, task), 1)
                uncertain.append(-(log.exp() * log).sum(1))
            guesses.append(torch.stack(uncertain).argmin(0))
        model.train()
        return torch.cat(guesses)

    return run
