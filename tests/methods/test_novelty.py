"""What is like none of the learned classes: calibrated on the learned classes' own samples."""

from dataclasses import replace

import small
import torch
import torch.nn.functional as F
from methods.test_closed_form import fitted

from hypermnesia.core import novelty
from hypermnesia.core.rng import generator
from hypermnesia.data import split
from hypermnesia.methods.closed_form import NCM, Ridge


def test_the_share_of_own_samples_that_is_taken_for_strange_is_the_one_asked_for() -> None:
    rng = generator(0, "novelty")
    means = torch.randn(20, 3, generator=rng)
    y = torch.arange(3).repeat(2000)
    h = means.T[y] + 0.5 * torch.randn(len(y), 20, generator=rng)
    spread = novelty.counted(torch.zeros(3, novelty.BINS + 1, dtype=torch.int64), h, y, means)
    for share in (0.01, 0.1):
        own = [
            (F.normalize(h[y == c], dim=1) @ F.normalize(means[:, c], dim=0)).sort().values for c in range(3)
        ]
        for c in range(3):
            alone = torch.zeros_like(spread)
            alone[c] = spread[c]
            found = novelty.strange(alone, h[y == c], means, share).float().mean()
            assert share - 0.03 < found <= share, "bins are rounded in favour of what is known"
            threshold = own[c][int(share * len(own[c]))]
            surely = F.normalize(h, dim=1) @ F.normalize(means[:, c], dim=0) < threshold - 0.01
            assert bool(novelty.strange(alone, h[surely], means, share).all())
    assert bool(novelty.strange(spread, -h[:50], means, 0.01).all())


def test_a_class_that_was_never_shown_is_strange_and_so_is_one_that_was_taken_out() -> None:
    source = small.source(8)
    stream = split(source, tasks=4)
    known = replace(stream, tasks=stream.tasks[:3])
    run = fitted(Ridge(novel=0.05), known)

    def share(task: int) -> float:
        raw, _ = stream.tasks[task].test.batch(torch.arange(len(stream.tasks[task].test)))
        strange = run.learner.answer(raw).strange
        assert strange is not None
        return float(strange.float().mean())

    assert share(0) < 0.3 and share(3) > 0.7
    x, y = stream.tasks[0].train.batch(torch.arange(len(stream.tasks[0].train)))
    run.learner.state = run.method.forget(run.learner.state, run.learner, stream.preprocess(x, None), y)
    assert share(0) > 0.7 and share(1) < 0.3
    assert run.learner.state.spread[:2].sum() == 0, "learned again, they are known by their new samples alone"


def test_without_the_option_nothing_is_kept_and_nothing_said() -> None:
    run = fitted(NCM(), small.split_stream())
    assert run.learner.state.spread is None
    assert run.learner.answer(torch.zeros(1, 1, 4, 4, dtype=torch.uint8)).strange is None
