"""GSS: the memory prefers samples whose gradients differ from those that it holds."""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import UNEVEN, fill, make_batch, make_learner, offer

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.methods import gss
from hypermnesia.methods.gss import GSS, chosen, gradients
from hypermnesia.methods.replay.buffer import empty
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = GSS(compared=5, memory=MemoryOptions(size=12, batch_size=5, policy="greedy"))


@pytest.mark.parametrize("setting", [{}, {"role": "per_task"}, {"head": "per_task", "classes": UNEVEN}])
def test_gradients_are_each_samples_own(setting: dict) -> None:
    learner = make_learner(**setting)
    batches = [make_batch(learner, 3, task) for task in (1, 0)]
    raw, y = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("raw", "y"))
    found = gradients(learner, raw, y, torch.tensor([1, 1, 1, 0, 0, 0]))
    trained = [p for p in learner.model.parameters() if p.requires_grad]
    for row, batch, i in zip(found, [batches[0]] * 3 + [batches[1]] * 3, [0, 1, 2] * 2, strict=True):
        loss = F.cross_entropy(learner.model(batch.x[i : i + 1], batch.task), batch.target[i : i + 1])
        if loss.requires_grad:
            slopes = torch.autograd.grad(loss, trained, allow_unused=True)
            flat = torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).flatten()
                    for p, g in zip(trained, slopes, strict=True)
                ]
            )
            torch.testing.assert_close(row, flat, rtol=1e-4, atol=1e-6)


def test_who_is_unlike_the_held_ones_takes_the_place_of_one_who_is_not() -> None:
    memory = empty(3, (), policy="greedy")
    slots, rows = chosen(memory, [0.5, 1.5, 1.0], [[0.9, 0.9]] * 3)
    assert (slots, rows) == ([0, 1, 2], [0, 1, 2])  # while there is room
    memory.filled, memory.keys = 3, torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)
    assert chosen(memory, [1.0, 1.2], [[0.5, 0.0]] * 2) == ([], [])  # alike
    # The first challenges slot 1 (0.5 of 3.0 lies in it) and wins with chance 1.5 / 1.7, the second then meets 0.2 there.
    assert chosen(memory, [0.2], [[0.5, 0.88]]) == ([1], [0])
    assert chosen(memory, [0.2], [[0.5, 0.89]]) == ([], [])
    assert chosen(memory, [0.2, 0.2], [[0.5, 0.0], [0.4, 0.49]]) == ([1], [1])
    assert chosen(memory, [0.2], [[0.99, 0.0]]) == ([2], [0])


def test_scores_are_one_plus_the_largest_cosine() -> None:
    learner = make_learner(task=0)
    whole = GSS(compared=12, memory=METHOD.memory)
    first, second = make_batch(learner, 6, seed=1), make_batch(learner, 4, seed=2)
    memory = offer(whole, whole.init(learner), learner, first).memory
    assert memory.keys[:6].tolist() == [0.1] * 6
    memory = offer(
        whole, whole.begin_task(type(fill(whole, learner))(memory), learner), learner, second
    ).memory
    own, theirs = (
        F.normalize(gradients(learner, b.raw, b.y, torch.zeros(len(b.y)))) for b in (second, first)
    )
    expected = [1 + max(float(a @ b) for b in theirs) for a in own]
    torch.testing.assert_close(
        memory.keys[6:10], torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("against", [True, False])
def test_a_batch_passes_the_gate_by_its_own_gradient(against: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All samples of a batch whose mean gradient is against the held ones' challenge, and none of another batch."""
    gated = GSS(compared=3, gate="batch", memory=MemoryOptions(size=6, batch_size=2, policy="greedy"))
    learner = make_learner(task=0)
    state = offer(gated, gated.init(learner), learner, make_batch(learner, 6, seed=1))
    # One new sample is against the held ones, three times as strong as the other or less; that one is like them.
    slopes = torch.tensor([[-3.0, 0.0] if against else [-0.5, 0.0], [1.0, 1.0]])
    monkeypatch.setattr(
        gss, "gradients", lambda _, x, y, t: slopes if len(y) == 2 else torch.eye(2)[[0, 0, 0]]
    )
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 0.001, dtype=torch.float64))
    keys = offer(gated, state, learner, make_batch(learner, 2, seed=2)).memory.keys.tolist()
    assert keys == pytest.approx([0.0, 1 + 0.5**0.5, *[0.1] * 4] if against else [0.1] * 6)


def test_samples_enter_with_their_batchs_score_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that no longer finds room comes with its own, if its batch may challenge at all."""
    gated = GSS(compared=2, gate="batch", memory=MemoryOptions(size=8, batch_size=2, policy="greedy"))
    learner = make_learner(task=0)
    state = offer(gated, gated.init(learner), learner, make_batch(learner, 6, seed=1))
    slopes = torch.tensor(
        [[-4.0, 3.0], [-4.0, -3.0], [-1.0, 0.0]]
    )  # together against (1, 0), at an angle of 180°
    monkeypatch.setattr(gss, "gradients", lambda _, x, y, t: slopes if len(y) == 3 else torch.eye(2)[[0, 0]])
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 0.001, dtype=torch.float64))
    keys = offer(gated, state, learner, make_batch(learner, 3, seed=2)).memory.keys.tolist()
    assert keys == pytest.approx([0.0, *[0.1] * 5, 0.0, 0.0])
    own = GSS(compared=2, memory=gated.memory)
    state = offer(own, own.init(learner), learner, make_batch(learner, 6, seed=1))
    keys = offer(own, state, learner, make_batch(learner, 3, seed=2)).memory.keys.tolist()
    assert keys == pytest.approx([0.0, *[0.1] * 5, 0.2, 0.2])


def test_bad_input() -> None:
    with pytest.raises(HypermnesiaError, match=r"^gss: memory\.policy=ring must be greedy$"):
        GSS(memory=MemoryOptions(policy="ring"))
