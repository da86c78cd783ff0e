"""Agreement: entropy of the mean answer over fixed pairs of noisy views."""

import torch
from evaluation.infer.inference_helpers import overlays, some_inputs, three_tasks

from hypermnesia.core.rng import generator
from hypermnesia.evaluation.infer import Agreement, Entropy


def test_no_pairs_or_no_noise_are_inference_by_entropy() -> None:
    learner = three_tasks()
    x, weights = some_inputs(learner, 30), overlays(learner)
    expected = Entropy().scores(None, learner, weights, x)
    for options in ({"pairs": 0}, {"pairs": 2, "noise": 0.0}):
        found = Agreement(**options).scores(None, learner, weights, x)
        assert torch.equal(found.guess, expected.guess) and torch.equal(found.local, expected.local)


def test_the_mean_answer_over_the_views_decides_and_the_sample_itself_is_answered() -> None:
    learner = three_tasks()
    x, weights = some_inputs(learner, 30), overlays(learner)
    found = Agreement(pairs=2, noise=2.0).scores(None, learner, weights, x)
    rng = generator(0, "agreement")
    noises = [2.0 * torch.randn(1, 4, 4, generator=rng) for _ in range(2)]
    for i in range(len(x)):
        views = [x[i : i + 1] + sign * noise for noise in noises for sign in (1, -1)] + [x[i : i + 1]]
        uncertain = []
        for task in range(3):
            p = torch.cat([learner.model(view, task).detach().softmax(1) for view in views]).mean(0)
            uncertain.append(float(-(p * p.log()).sum()))
        best = uncertain.index(min(uncertain))
        assert int(found.guess[i]) == best
        assert int(found.local[i]) == int(learner.model(x[i : i + 1], best).argmax())
    assert not torch.equal(found.guess, Entropy().scores(None, learner, weights, x).guess)
