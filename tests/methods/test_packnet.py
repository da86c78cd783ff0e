"""PackNet: its steps stand under "What runs"; here is what rests, and what is refused."""

import pytest
import torch
from methods.helpers import make_learner

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.packnet import PackNet
from hypermnesia.training.events import TaskEnded

WORDS = (
    "net.hidden=[8]",
    "stream.samples_per_task=24",
    "train.iterations=4",
    "train.batch_size=6",
    "train.threads=1",
)


def test_a_finished_task_answers_as_it_did_to_the_last_bit() -> None:
    words = [*WORDS, "optimizer.name=sgd", "lr=0.1", "optimizer.momentum=0.9", "optimizer.weight_decay=0.01"]
    run = build(
        resolve(
            "split-digits", "packnet", [*words, "stream.tasks=3", "evaluate.samples=2", "method.prune=0.6"]
        ),
        0,
    )
    learner, x, said = run.learner, None, []
    for event in run:
        if isinstance(event, TaskEnded):
            if x is None:
                x = learner.preprocess(run.stream.tasks[0].test.batch(torch.arange(5))[0], None)
            with torch.no_grad():
                said.append(learner.scores(x, 0))
    assert len(said) == 3 and all(torch.equal(said[0], later) for later in said[1:])
    owner = learner.state.owner["target.layer1.linear.weight"]
    shares = [float((owner == task).float().mean()) for task in (0, 1, 2, -1)]
    assert shares == pytest.approx([0.4, 0.24, 0.144, 0.216], abs=0.01)
    weight = learner.model.target.layer1.linear.weight
    assert (weight[owner == -1] == 0).all()


def test_bad_input() -> None:
    with pytest.raises(
        HypermnesiaError, match=r"^packnet packs plain weights under a classifier for each task: take"
    ):
        PackNet().init(make_learner())
