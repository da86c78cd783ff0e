"""CLS-ER: two slow means of the network teach what is remembered; the stable one answers."""

import pytest
import torch
from methods.helpers import (
    UNEVEN,
    assert_same,
    fill,
    loss_and_gradients,
    make_batch,
    make_learner,
    offer,
    slow_cross_entropy,
    slow_gradients,
    slow_rows,
)

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.clser import CLSER
from hypermnesia.methods.learner import Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = CLSER(strength=0.7, memory=MemoryOptions(size=12, batch_size=5))


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}])
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    learner = make_learner(**setting)
    state, batch = METHOD.begin_task(fill(METHOD, learner), learner), make_batch(learner)
    for seed, mean in enumerate((state.plastic, state.stable)):
        for name, value in mean.items():
            value.add_(torch.randn(value.shape, generator=generator(seed, name)))
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert draw is not None and draw.logits is not None
    own = [
        slow_cross_entropy(learner.model(x[None], 1)[0], int(t))
        for x, t in zip(batch.x, batch.target, strict=True)
    ]
    rows, squares, stable = slow_rows(learner, draw), [], 0
    old = [slow_cross_entropy(row, int(t)) for row, t in zip(rows, draw.target, strict=True)]
    task = {i: b.task for b in draw.blocks for i in range(b.start, b.stop)}
    for i, row in enumerate(rows):
        slow, fast = (
            Net(learner.model, m)(draw.x[i : i + 1], task[i])[0] for m in (state.stable, state.plastic)
        )
        t = int(draw.target[i])
        stable += int(slow.softmax(0)[t] > fast.softmax(0)[t])
        squares.append((row - (slow if slow.softmax(0)[t] > fast.softmax(0)[t] else fast).detach()) ** 2)
    assert 0 < stable < len(rows)
    expected = torch.stack([*own, *old]).mean() + 0.7 * torch.cat(squares).mean()
    found = loss_and_gradients(METHOD, learner, state, batch, draw)
    assert_same(found, slow_gradients(learner, expected), tol=3e-6)


def test_the_means_move_with_their_probabilities_and_the_stable_one_answers() -> None:
    method = CLSER(
        plastic_alpha=0.9, plastic_rate=1.0, stable_alpha=0.2, stable_rate=0.0, memory=METHOD.memory
    )
    learner = make_learner(task=0)
    state = method.begin_task(method.init(learner), learner)
    batch = make_batch(learner)
    assert method.scores(state, learner, batch.x, 0) is None
    before = {name: value.clone() for name, value in state.plastic.items()}
    with torch.no_grad():
        for p in learner.model.parameters():
            p.add_(1.0)
    state = offer(method, state, learner, batch)
    name = "target.head.weight"
    torch.testing.assert_close(state.plastic[name], before[name] + 0.5)  # 1 − 1/2 is below 0.9
    state = offer(method, state, learner, batch)
    torch.testing.assert_close(state.plastic[name], before[name] + 0.5 + 0.5 / 3)
    assert torch.equal(state.stable[name], before[name])
    expected = Net(learner.model, state.stable)(batch.x, 0)
    assert torch.equal(method.scores(state, learner, batch.x, 0), expected)
    assert not torch.allclose(expected, learner.model(batch.x, 0))


def test_bad_input() -> None:
    with pytest.raises(HypermnesiaError, match=r"^method\.stable_rate=2: expected number >= 0 and <= 1$"):
        CLSER(stable_rate=2)
