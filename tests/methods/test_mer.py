"""MER: Reptile within and across draws, as one gradient."""

import copy

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import UNEVEN, fill, make_batch, make_learner

from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.learner import Net
from hypermnesia.methods.mer import MER
from hypermnesia.methods.replay.rehearsal import MemoryOptions

RATE = 0.3


def plain_step(gradients: Tensors, plain: bool = False) -> Tensors:
    assert plain
    return {name: -RATE * g for name, g in gradients.items()}


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}])
def test_a_step_is_the_algorithm_written_out(one_by_one: bool, setting: dict) -> None:
    options = MemoryOptions(size=12, batch_size=4)
    method = MER(beta=0.5, gamma=0.7, batches=2, one_by_one=one_by_one, memory=options)
    learner = make_learner(**setting)
    state, batch = fill(method, learner), make_batch(learner, 2)
    draws = method.draw(state, learner, batch, generator(0))
    assert len(draws) == 2 and not torch.equal(draws[0].index, draws[1].index)
    walker = copy.deepcopy(learner.model)
    params = {name: p for name, p in walker.named_parameters() if p.requires_grad}
    origin = {name: p.detach().clone() for name, p in params.items()}

    def losses(draw):
        rows = [(draw.x[i], draw.target[i], b.task) for b in draw.blocks for i in range(b.start, b.stop)]
        rows += [(x, y, 1) for x, y in zip(batch.x, batch.target, strict=True)]
        each = [lambda r=row: F.cross_entropy(walker(r[0][None], r[2]), r[1][None]) for row in rows]
        return each if one_by_one else [lambda: torch.stack([loss() for loss in each]).mean()]

    for draw in draws:
        start = {name: p.detach().clone() for name, p in params.items()}
        for loss in losses(draw):
            value = loss()
            if not value.requires_grad:  # of a task whose weights do not train now
                continue
            slopes = torch.autograd.grad(value, list(params.values()), allow_unused=True)
            with torch.no_grad():
                for p, g in zip(params.values(), slopes, strict=True):
                    p -= 0 if g is None else RATE * g
        with torch.no_grad():
            for name, p in params.items():
                p.copy_(start[name] + 0.5 * (p - start[name]))
    found, _, _ = method.gradients(Net(learner.model), state, batch, draws, plain_step)
    for name, p in params.items():
        wanted = origin[name] + 0.7 * (p.detach() - origin[name])
        ours = origin[name] - RATE * found.get(name, torch.zeros_like(p))
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)
