"""Inference by a network that was trained to tell the tasks apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.evaluation.infer.base import TaskScores, all_logits, check, chosen
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class Finished:
    """What the task-inference network has learned by now."""

    tasks: int


@dataclass(frozen=True, kw_only=True)
class TIR:
    """argmax_j g(x)_j over the finished tasks j, g being the learner's model `inference` (HNET+TIR of von Oswald et al.
    2020, arXiv:1906.00695).

    The approach hnet-tir trains that network. Nothing is stored beside it.
    """

    def init(self, learner: Learner) -> Finished:
        check("tir", learner)
        if "inference" not in learner.models:
            raise HypermnesiaError(
                "infer=tir asks a task-inference network, and this method trains none: take the approach hnet-tir, "
                "or another way to infer"
            )
        return Finished(0)

    def end_task(self, state: Finished, learner: Learner, task: Task) -> Finished:
        return Finished(learner.task + 1)

    def scores(self, state: Finished, learner: Learner, overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        network = learner.models["inference"]
        with evaluating(network):
            guess = network(x, learner.task)[:, : max(1, state.tasks)].argmax(1)
        return chosen(guess, all_logits(learner, overlays, x))
