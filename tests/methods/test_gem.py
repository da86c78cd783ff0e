"""GEM: the nearest gradient that opposes no earlier task's memory."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import (
    UNEVEN,
    assert_same,
    fill,
    finetune_gradients,
    make_batch,
    make_learner,
    make_stream,
    offer,
)

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.er import ER
from hypermnesia.methods.gem import GEM, multipliers
from hypermnesia.methods.learner import Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = GEM(gamma=0.3, memory=MemoryOptions(size=18))
FILLED = ER(memory=METHOD.memory)


def slow_multipliers(gram: torch.Tensor, products: torch.Tensor, least: float) -> torch.Tensor:
    """The one set of free entries whose solution meets all conditions."""
    gram = gram + 1e-3 * torch.eye(len(gram), dtype=gram.dtype)
    slope = products + least * gram.sum(1)
    for bits in itertools.product([False, True], repeat=len(gram)):
        free = torch.tensor(bits)
        u = torch.zeros(len(gram), dtype=gram.dtype)
        u[free] = torch.linalg.solve(gram[free][:, free], -slope[free])
        if (u >= 0).all() and (gram @ u + slope >= -1e-10 * slope.abs().max()).all():
            return u + least
    raise AssertionError("no solution")


@pytest.mark.parametrize("least", [0.0, 0.5])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3])
def test_the_quadratic_program_is_solved(least: float, size: float) -> None:
    rng = generator(0, "gem")
    for tasks in (1, 2, 3, 6):
        rows = size * torch.randn(tasks, 40, generator=rng, dtype=torch.float64)
        rows[-1] = rows[0] + 1e-3 * rows[-1]  # two tasks almost alike
        products = rows @ (size * torch.randn(40, generator=rng, dtype=torch.float64))
        found, expected = (
            multipliers(rows @ rows.T, products, least),
            slow_multipliers(rows @ rows.T, products, least),
        )
        step, wanted = found @ rows, expected @ rows
        torch.testing.assert_close(step, wanted, rtol=1e-6, atol=1e-7 * float(1 + wanted.abs().max()))


@pytest.mark.parametrize("setting", [{}, {"role": "per_task"}, {"head": "per_task", "classes": UNEVEN}])
def test_a_step_is_the_projection_written_out(setting: dict) -> None:
    learner = make_learner(task=2, **setting)
    state, batch = fill(FILLED, learner), make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None and [b.task for b in draw.blocks] == [0, 1]
    assert (
        sorted(draw.index.tolist())
        == (state.memory.task[: state.memory.filled] < 2).nonzero().flatten().tolist()
    )
    value, gradient = finetune_gradients(learner, batch)
    names = list(Net(learner.model).params)

    def flat(of: dict) -> torch.Tensor:
        return torch.cat(
            [of.get(n, torch.zeros_like(learner.model.get_parameter(n))).flatten() for n in names]
        ).double()

    rows = []
    for block in draw.blocks:
        logits = learner.model(draw.x[block.start : block.stop], block.task)
        loss = F.cross_entropy(logits, draw.target[block.start : block.stop])
        rows.append(flat(Net(learner.model).gradients(loss)))
    g, rows = flat(gradient), torch.stack(rows)
    expected = g
    if (rows @ g < 0).any():
        expected = g + slow_multipliers(rows @ rows.T, rows @ g, 0.3) @ rows
    found = METHOD.gradients(Net(learner.model), state, batch, draw, None)
    torch.testing.assert_close(flat(found[0]), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[1], value.detach())


def test_a_gradient_that_opposes_nothing_stays_as_it_is() -> None:
    learner = make_learner(task=1)
    batch = make_batch(learner, task=0)  # what is remembered of task 0 is the batch itself
    state = fill(FILLED, make_learner(task=0), size=6)
    state.memory.x[:6], state.memory.y[:6] = batch.raw, batch.y
    batch = type(batch)(batch.x, batch.y, batch.target, 1, batch.raw)
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None
    gradients, value, _ = METHOD.gradients(Net(learner.model), state, batch, draw, None)
    assert_same((value, gradients), finetune_gradients(learner, batch))


def test_each_finished_task_leaves_an_equal_part() -> None:
    learner, stream = make_learner(task=0), make_stream()
    state = METHOD.init(learner)
    for task in stream.tasks[:2]:
        learner.task = task.index
        state = METHOD.end_task(
            offer(METHOD, state, learner, make_batch(learner)), learner, task, generator(0)
        )
    assert state.memory.tasks() == {0: 6, 1: 6} and METHOD.needs_boundaries


def test_bad_input() -> None:
    with pytest.raises(
        HypermnesiaError, match=r"^memory\.size=2 leaves no sample for each of 3 tasks: give at least"
    ):
        GEM(memory=MemoryOptions(size=2)).init(make_learner())
