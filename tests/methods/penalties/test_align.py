"""The head trained once more around the means of all classes."""

import pytest
import small
import torch

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.penalties.align import Align
from hypermnesia.training.events import TaskEnded


@pytest.mark.parametrize("covariance", ["class", "shared"])
def test_a_head_that_is_lost_comes_back_without_any_sample(covariance: str) -> None:
    align = Align(covariance=covariance)  # pyright: ignore[reportArgumentType]
    run = small.run(method=hm.combine(hm.Finetune(), align))
    small.all_of([run])
    state, learner = run.learner.state.penalties[0], run.learner
    assert state.classes.tolist() == [0, 1, 2, 3, 4, 5] and state.samples == 72
    assert state.factors.shape == (6 if covariance == "class" else 1, 8, 8)
    raw, y = (
        torch.cat(p) for p in zip(*(t.test.batch(torch.arange(10)) for t in run.stream.tasks), strict=True)
    )
    head = learner.model.target.get_submodule("head")
    with torch.no_grad():
        for p in head.parameters():
            p.normal_(std=0.1, generator=generator(1, "lost"))
    assert (learner.answer(raw).classes == y).float().mean() < 0.5
    align._train(state, learner, generator(0, "align"))
    assert (learner.answer(raw).classes == y).float().mean() > 0.8


def test_the_statistics_are_those_of_each_class() -> None:
    x = torch.randn(500, 3, generator=generator(0, "align")) @ torch.tensor(
        [[1.0, 2, 0], [0, 1, 0], [0, 0, 3]]
    )
    y = torch.arange(500) % 2
    run = small.run(method=hm.combine(hm.Finetune(), Align()))
    align, state = Align(), run.learner.state.penalties[0]
    for c in (0, 1):  # one after the other, as two tasks bring them
        state = align._with(state, x[y == c], y[y == c])
    for c in (0, 1):
        own = x[y == c]
        torch.testing.assert_close(state.means[c], own.mean(0))
        torch.testing.assert_close(
            state.factors[c] @ state.factors[c].T, torch.cov(own.T), rtol=1e-3, atol=1e-3
        )
    pooled = Align(covariance="shared")
    state = run.learner.state.penalties[0]
    for c in (0, 1):
        state = pooled._with(state, x[y == c], y[y == c])
    within = torch.stack([x[i] - x[y == y[i]].mean(0) for i in range(500)])
    expected = within.T @ within / 499
    torch.testing.assert_close(state.factors[0] @ state.factors[0].T, expected, rtol=1e-3, atol=1e-3)


def test_only_the_head_moves_and_only_from_the_second_task_on() -> None:
    plain, aligned = small.run(), small.run(method=hm.combine(hm.Finetune(), Align(steps=3)))
    for run in (plain, aligned):
        for event in run:
            if isinstance(event, TaskEnded) and event.task == 1:
                break
    ours, theirs = (
        dict(aligned.learner.model.named_parameters()),
        dict(plain.learner.model.named_parameters()),
    )
    moved = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert moved == ["target.head.weight", "target.head.bias"]


def test_it_joins_by_a_word_and_needs_one_head() -> None:
    cfg = resolve("split-digits", "er", ["align.steps=5", "stream.tasks=2", "train.threads=1"])
    assert cfg.sections["align"] == Align(steps=5)
    with pytest.raises(HypermnesiaError, match="align trains one head that all classes share"):
        small.run(weights="hyper", method=hm.combine(hm.Finetune(), Align()))
