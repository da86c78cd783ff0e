"""Inference by the largest logit: one classifier over the classes of all tasks."""

from evaluation.infer.inference_helpers import overlays, some_inputs, three_tasks

from hypermnesia.evaluation.infer import Logit


def test_the_largest_logit_of_all_tasks_answers() -> None:
    learner = three_tasks()
    x, weights = some_inputs(learner), overlays(learner)
    found = Logit().scores(None, learner, weights, x)
    for i in range(len(x)):
        logits = [learner.model.call(w, x[i : i + 1], t)[0].tolist() for t, w in enumerate(weights)]
        best = max(range(3), key=lambda t: max(logits[t]))
        assert int(found.guess[i]) == best
        assert int(found.local[i]) == logits[best].index(max(logits[best]))
    assert len(set(found.guess.tolist())) > 1
