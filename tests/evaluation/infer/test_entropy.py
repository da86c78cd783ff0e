"""Inference by entropy, and what all inferences share."""

import math
from typing import Any

import pytest
import torch
from evaluation.infer.inference_helpers import finished, overlays, some_inputs, three_tasks
from methods.regularisation_helpers import learner_on, make_task

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.infer import INFERENCES, Entropy, FeCAM, Inference, Prototype, check, chosen
from hypermnesia.evaluation.infer.base import entropy


def test_entropy_is_in_nats_and_finite_where_a_softmax_saturates() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1e4, 0.0, 0.0, 0.0], [math.log(3), 0.0, -1e9, -1e9]])
    expected = torch.tensor([math.log(4), 0.0, -0.75 * math.log(0.75) - 0.25 * math.log(0.25)])
    torch.testing.assert_close(entropy(logits), expected)


def test_the_least_uncertain_network_answers() -> None:
    learner = three_tasks()
    x, weights = some_inputs(learner), overlays(learner)
    found = Entropy().scores(None, learner, weights, x)
    for i in range(len(x)):
        logits = [learner.model.call(w, x[i : i + 1], t)[0].detach() for t, w in enumerate(weights)]
        uncertain = [float(-(p * p.log()).sum()) for p in (of_task.softmax(0) for of_task in logits)]
        best = uncertain.index(min(uncertain))
        assert int(found.guess[i]) == best and int(found.local[i]) == int(logits[best].argmax())


def test_the_first_task_wins_a_tie() -> None:
    learner = three_tasks()
    same = [overlays(learner)[0]] * 3
    assert Entropy().scores(None, learner, same, some_inputs(learner)).guess.tolist() == [0] * 7


def test_calibrated_scales_come_from_each_tasks_training_samples_at_its_end() -> None:
    learner, inference = three_tasks(), Entropy(calibrate=True)
    state, x, weights = finished(inference, learner), some_inputs(learner, 30), overlays(learner)
    gaps = []
    for task in range(3):
        part = make_task(task).train
        seen = learner.preprocess(part.batch(torch.arange(len(part)))[0], None)
        z = learner.model.call(weights[task], seen, task).detach()
        gaps.append(float((z[:, 0] - z[:, 1]).abs().mean()))  # two classes
    assert [float(gap) for gap in state.gaps] == pytest.approx(gaps)
    found, plain = (inference.scores(state, learner, weights, x), Entropy().scores(None, learner, weights, x))
    ratios = torch.stack(
        [learner.model.call(w, x, t).diff(dim=1).abs()[:, 0] / gaps[t] for t, w in enumerate(weights)]
    )
    assert found.guess.tolist() == ratios.argmax(0).tolist()
    assert found.guess.tolist() != plain.guess.tolist()


def test_a_larger_scale_of_one_tasks_logits_changes_no_calibrated_guess() -> None:
    """Without calibration that task would be taken for every sample's."""
    learner, inference = three_tasks(), Entropy(calibrate=True)
    x, weights = some_inputs(learner, 30), overlays(learner)
    before = inference.scores(finished(inference, learner), learner, weights, x)
    call = learner.model.call

    def louder(overlay: Any, x: Any, task: int) -> Any:
        return call(overlay, x, task) * (50 if task == 1 else 1)

    learner.model.call = louder  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(
        before.guess, inference.scores(finished(inference, learner), learner, weights, x).guess
    )
    plain = Entropy().scores(None, learner, weights, x).guess.tolist()
    assert plain.count(1) > 20 > before.guess.tolist().count(1)


@pytest.mark.parametrize("inference", [Entropy(calibrate=True), FeCAM(), Prototype()])
def test_within_a_task_only_finished_ones_are_guessed(inference: Inference) -> None:
    learner = three_tasks()
    x = some_inputs(learner)
    halfway = inference.scores(finished(inference, learner, tasks=2), learner, overlays(learner), x)
    assert int(halfway.guess.max()) <= 1
    start = inference.scores(inference.init(learner), learner, overlays(learner, 1), x)
    assert start.guess.tolist() == [0] * len(x)
    assert torch.equal(start.local, learner.model(x, 0).argmax(1))


def test_tasks_of_different_width_answer_with_their_own_outputs() -> None:
    logits = [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0, 5.0]])]
    assert chosen(torch.tensor([1]), logits).local.tolist() == [2]
    assert chosen(torch.tensor([0]), logits).local.tolist() == [1]


@pytest.mark.parametrize(
    "name", sorted(set(INFERENCES) - {"tir", "ridge"})
)  # which need other networks: see their tests
def test_a_guess_depends_on_its_own_sample_alone(name: str) -> None:
    learner, inference = three_tasks(), INFERENCES[name]()
    state, x, weights = finished(inference, learner), some_inputs(learner), overlays(learner)
    together = inference.scores(state, learner, weights, x)
    assert together.guess.dtype == together.local.dtype == torch.int64
    for i in range(len(x)):
        alone = inference.scores(state, learner, weights, x[i : i + 1])
        assert int(alone.guess) == int(together.guess[i]) and int(alone.local) == int(together.local[i])


@pytest.mark.parametrize("name", sorted(set(INFERENCES) - {"entropy"}))
def test_shared_weights_leave_nothing_to_infer(name: str) -> None:
    text = rf"infer={name} guesses whose weights .* weights=hyper, partial, .*\(weights\.per_task\)"
    with pytest.raises(HypermnesiaError, match=text):
        INFERENCES[name]().init(learner_on("plain"))


def test_entropy_may_stand_by_where_it_is_not_asked() -> None:
    Entropy().init(learner_on("plain"))
    with pytest.raises(HypermnesiaError, match="infer=entropy guesses whose weights"):
        check("entropy", learner_on("plain"))
