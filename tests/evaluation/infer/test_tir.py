"""TIR: the guess of a network that was trained to tell the tasks apart."""

from collections.abc import Callable

import pytest
import torch
from evaluation.infer.inference_helpers import overlays, some_inputs, three_tasks
from methods.regularisation_helpers import make_task
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.infer import TIR
from hypermnesia.evaluation.infer.tir import Finished
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.model import Model


class Guess(nn.Module):
    """As many logits as it is told, of a function of the images."""

    def __init__(self, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.logits = logits
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.logits(x)


def with_guess(logits: Callable[[Tensor], Tensor]) -> Learner:
    learner = three_tasks()
    learner.models["inference"] = Model(Guess(logits), None)
    return learner


def test_the_network_names_the_task_and_that_tasks_classifier_answers() -> None:
    learner = with_guess(lambda x: x.flatten(1)[:, :3])
    x, weights = some_inputs(learner, 30), overlays(learner)
    found = TIR().scores(Finished(3), learner, weights, x)
    for i in range(len(x)):
        best = int(x[i].flatten()[:3].argmax())
        assert int(found.guess[i]) == best
        assert int(found.local[i]) == int(learner.model(x[i : i + 1], best).argmax())
    assert len(found.guess.unique()) == 3


def test_tasks_that_are_not_finished_are_never_guessed() -> None:
    learner = with_guess(lambda x: torch.tensor([0.0, 1, 2]).expand(len(x), 3))
    x, weights = some_inputs(learner), overlays(learner)
    guesses = [TIR().scores(Finished(n), learner, weights, x).guess.unique().tolist() for n in (0, 1, 2, 3)]
    assert guesses == [[0], [0], [1], [2]]
    learner.task = 1
    assert TIR().end_task(Finished(1), learner, make_task(1)) == Finished(2)
    assert TIR().init(learner) == Finished(0)


def test_a_learner_without_such_a_network_is_an_error() -> None:
    said = (
        r"^infer=tir asks a task-inference network, and this method trains none: take the approach hnet-tir"
    )
    with pytest.raises(HypermnesiaError, match=said):
        TIR().init(three_tasks())
