"""CLS-ER: two slow means of the network teach what is remembered; the stable one answers."""

import torch
from methods.helpers import Midstep, make_batch, make_learner, offer, on_any_weights, slow_rows

from hypermnesia.core.rng import generator
from hypermnesia.methods.clser import CLSER
from hypermnesia.methods.learner import Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions

METHOD = CLSER(strength=0.7, memory=MemoryOptions(size=12, batch_size=5))


@on_any_weights
def test_one_step_equals_the_formula_written_out(setting: dict) -> None:
    step = Midstep(METHOD, **setting)
    learner, state = step.learner, step.state
    for seed, mean in enumerate((state.plastic, state.stable)):
        for name, value in mean.items():
            value.add_(torch.randn(value.shape, generator=generator(seed, name)))
    step.draw = draw = METHOD.draw(state, learner, step.batch, generator(0))
    assert draw is not None
    rows, squares, stable = slow_rows(learner, draw), [], 0
    task = {i: b.task for b in draw.blocks for i in range(b.start, b.stop)}
    for i, row in enumerate(rows):
        slow, fast = (
            Net(learner.model, m)(draw.x[i : i + 1], task[i])[0] for m in (state.stable, state.plastic)
        )
        t = int(draw.target[i])
        stable += int(slow.softmax(0)[t] > fast.softmax(0)[t])
        squares.append((row - (slow if slow.softmax(0)[t] > fast.softmax(0)[t] else fast).detach()) ** 2)
    assert 0 < stable < len(rows)
    step.assert_loss(torch.stack([*step.own(), *step.again(draw)]).mean() + 0.7 * torch.cat(squares).mean())


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
