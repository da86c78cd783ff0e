"""BiC: its three steps per task stand under "What runs"; here are what it holds out and how it corrects."""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import make_learner, make_stream

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.bic import BiC, correction, is_held_out
from hypermnesia.methods.replay.rehearsal import MemoryOptions


def test_a_share_is_held_out_and_always_the_same_samples() -> None:
    raw = torch.randint(256, (4000, 1, 4, 4), dtype=torch.uint8, generator=generator(0))
    apart = is_held_out(raw, 0.1)
    assert 300 < int(apart.sum()) < 500
    order = torch.randperm(4000, generator=generator(1))
    assert torch.equal(is_held_out(raw[order], 0.1), apart[order])


def test_the_correction_is_the_optimum() -> None:
    logits = torch.randn(60, 4, generator=generator(0)) + 3 * torch.tensor([0, 0, 1, 1])
    y = torch.randint(4, (60,), generator=generator(1))
    logits[torch.arange(60), y] += 1
    fresh = torch.tensor([False, False, True, True])

    def loss(scale: float, shift: float) -> float:
        return float(F.cross_entropy(torch.where(fresh, scale * logits + shift, logits), y))

    scale, shift = correction(logits, y, fresh)
    best = loss(scale, shift)
    assert best < loss(1, 0) - 0.1 and shift < -1
    assert all(best <= loss(scale + a, shift + b) + 1e-6 for a in (-0.05, 0, 0.05) for b in (-0.05, 0, 0.05))


def test_what_is_held_out_is_never_rehearsed() -> None:
    method = BiC(held_out=0.4, memory=MemoryOptions(size=20, batch_size=5, policy="class-balanced"))
    learner, stream = make_learner(task=0), make_stream()
    state = method.begin_task(method.init(learner), learner)
    assert (state.memory.capacity, state.held_out.capacity) == (12, 8)
    state = method.end_task(state, learner, stream.tasks[0], generator(0))
    for memory, apart in ((state.memory, False), (state.held_out, True)):
        assert memory.filled and (is_held_out(memory.x[: memory.filled], 0.4) == apart).all()
    assert (state.scale == 1).all() and (state.shift == 0).all()  # nothing to correct yet


def test_bad_input() -> None:
    with pytest.raises(HypermnesiaError, match=r"^bic corrects logits of one head for all classes"):
        BiC().init(make_learner(head="per_task"))
