"""Evaluation with the task unknown: 10,000 images over 10 tasks."""

import torch

from benchmarks.measure import Step
from benchmarks.ours import Placed, images, mlp
from benchmarks.row import Side, contest
from benchmarks.twins import accuracy_by_loop
from hypermnesia.data import Stream, from_tensors, split
from hypermnesia.evaluation.evaluate import evaluate
from hypermnesia.methods.finetune import Finetune
from hypermnesia.weights import ChunkedOptions

TASKS, IMAGES = 10, 10_000


def _stream() -> Stream:
    x, y = images(IMAGES, 2 * TASKS)
    return split(from_tensors(x, y, x, y), tasks=TASKS)


def _learned() -> Placed:
    stream = _stream()
    return Placed(stream, mlp(400, 400), Finetune(), "hyper", ChunkedOptions(chunk=4500), task=TASKS - 1)


def ours() -> Step:
    run = _learned().run

    def step() -> None:
        evaluate(run.learner, run.stream, run.evaluation, scenarios=("class",))

    return step


def twin() -> Step:
    run = _learned().run
    x = torch.cat(
        [run.stream.preprocess(part.batch(torch.arange(len(part)))[0]) for part in run.stream.tests]
    )
    return accuracy_by_loop(run.learner.model, x, TASKS, batch_size=256)


ROWS = (
    contest(
        "evaluation",
        "10,000 images over 10 tasks, the task inferred by entropy, 784-400-400-2 written by hnet",
        Side("ours", ours),
        Side("slow twin, weights built for every batch of 256", twin),
    ),
)
