"""A-GEM: the gradient is bent where it would raise the loss on remembered samples."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import (
    assert_same,
    fill,
    finetune_gradients,
    make_batch,
    make_learner,
    make_stream,
    on_any_weights,
    slow_rows,
)
from torch.func import vmap

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors, dot
from hypermnesia.methods.agem import AGEM, project
from hypermnesia.methods.learner import Batch, Learner, Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = AGEM(memory=MemoryOptions(size=12, batch_size=5))


def gradients(
    method: AGEM, learner: Learner, state: Any, batch: Batch, draw: Any
) -> tuple[torch.Tensor, Tensors]:
    found, value, _ = method.gradients(Net(learner.model), state, batch, draw, lambda g: dict(g))
    return value, found


@on_any_weights
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    learner = make_learner(**setting)
    state, batch = fill(METHOD, learner), make_batch(learner)
    if "role" in setting:
        for parameter in learner.model.parameters():  # memory reaches the rows of both tasks
            parameter.requires_grad_(True)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None

    net = Net(learner.model)
    value, g = finetune_gradients(learner, batch)
    losses = [F.cross_entropy(row, t) for row, t in zip(slow_rows(learner, draw), draw.target, strict=True)]
    r = net.gradients(torch.stack(losses).mean())
    names = sorted(g.keys() | r.keys())
    zero = {n: torch.zeros_like(net.params[n]) for n in names}
    flat_g = torch.cat([g.get(n, zero[n]).flatten() for n in names])
    flat_r = torch.cat([r.get(n, zero[n]).flatten() for n in names])
    if flat_g @ flat_r < 0:
        flat_g = flat_g - (flat_g @ flat_r) / (flat_r @ flat_r) * flat_r
    parts = flat_g.split([zero[n].numel() for n in names])
    expected = {n: part.view_as(zero[n]) for n, part in zip(names, parts, strict=True)}

    assert_same(gradients(METHOD, learner, state, batch, draw), (value, expected))


def test_an_opposing_gradient_becomes_orthogonal_and_an_agreeing_one_stays() -> None:
    rng = generator(0)
    reference = {"a": torch.randn(3, 4, generator=rng), "b": torch.randn(5, generator=rng)}
    noise = {n: torch.randn(r.shape, generator=rng) for n, r in reference.items()}
    opposing = {n: noise[n] - 2 * r for n, r in reference.items()}
    agreeing = {n: noise[n] + 2 * r for n, r in reference.items()}
    assert dot(opposing, reference) < 0 < dot(agreeing, reference)
    assert abs(float(dot(project(opposing, reference), reference))) < 1e-5 * float(dot(reference, reference))
    assert all(torch.equal(project(agreeing, reference)[n], agreeing[n]) for n in agreeing)
    nothing = {n: torch.zeros_like(r) for n, r in reference.items()}
    assert all(torch.equal(project(opposing, nothing)[n], opposing[n]) for n in opposing)


def test_a_step_opposed_to_the_memory_is_projected() -> None:
    """The same images with other labels pull the other way."""
    learner = make_learner(task=0)
    batch = make_batch(learner)
    state = fill(METHOD, learner, seed=-100)  # the very batch
    state.memory.y.copy_(1 - state.memory.y)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None
    net = Net(learner.model)
    r = net.gradients(F.cross_entropy(net(draw.x, 0), draw.target))
    plain = finetune_gradients(learner, batch)[1]
    bent = gradients(METHOD, learner, state, batch, draw)[1]
    assert dot(plain, r) < 0
    assert abs(float(dot(bent, r))) < 1e-5


@pytest.mark.parametrize(("samples", "kept"), [(None, 4), (2, 2)])
def test_filled_by_task_it_keeps_an_equal_share_of_each(samples: int | None, kept: int) -> None:
    method = AGEM(fill="task", task_samples=samples, memory=MemoryOptions(size=12))
    assert method.needs_boundaries and not METHOD.needs_boundaries
    learner = make_learner(task=0)
    state = fill(method, learner)
    assert state.memory.filled == 0  # nothing within a task
    for task in make_stream().tasks:
        state = method.end_task(state, learner, task, generator(task.index))
    assert state.memory.tasks() == {0: kept, 1: kept, 2: kept}


def test_bad_input() -> None:
    with pytest.raises(HypermnesiaError, match=r"memory\.size=2 leaves no sample for each of 3 tasks"):
        AGEM(fill="task", memory=MemoryOptions(size=2)).init(make_learner())


def test_projections_stack() -> None:
    rng = generator(0)
    g, r = ({n: torch.randn(2, *s, generator=rng) for n, s in (("a", (3, 4)), ("b", (5,)))} for _ in range(2))
    together = vmap(project)(g, r)
    for i in range(2):
        one = {n: v[i] for n, v in g.items()}, {n: v[i] for n, v in r.items()}
        alone = project(*one)
        for name, value in alone.items():
            torch.testing.assert_close(together[name][i], value)
