"""Embeddings that start as those of similar tasks: which one is taken, when none is, and what is kept for that."""

import pytest
import torch

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Stream
from hypermnesia.data.build import Cut, build
from hypermnesia.data.sources.registry import open_source
from hypermnesia.data.transforms import Permutations
from hypermnesia.nets import MLPOptions
from hypermnesia.training.events import TaskStarted
from hypermnesia.training.loop import Fit
from hypermnesia.weights import ChunkedOptions


def returning() -> Stream:
    """Digits under one permutation, under another, and under the first again."""
    source = open_source("digits")
    classes, table = tuple(range(10)), Permutations.draw(2, 64, 0, True)
    train, test = torch.arange(len(source.train)), torch.arange(len(source.test))
    cuts = [Cut(str(t), classes, train, test, code, code) for t, code in enumerate((0, 1, 0))]
    return build("returning", source, cuts, transform=table, shared_labels=True)


def run_of(stream: Stream, alike: float) -> Fit:
    options = ChunkedOptions(condition="similar", alike=alike, support=10)
    net = MLPOptions(hidden=(20,))
    model = hm.model_for(stream, lambda outputs: net.build(stream.shape, outputs), "hyper", options)
    train, adam = hm.TrainOptions(iterations=60, threads=1), hm.OptimizerOptions(name="adam", lr=0.003)
    return Fit(model, stream, hm.combine(hm.Finetune(), hm.Drift(beta=0.1)), train, adam)


@pytest.mark.parametrize(("alike", "expected"), [(0.75, [[], [], [0]]), (9.0, [[], [], []])])
def test_an_embedding_starts_as_that_of_the_task_that_is_like_it(
    alike: float, expected: list[list[int]]
) -> None:
    run, found = run_of(returning(), alike), []
    for event in run:
        if isinstance(event, TaskStarted):
            generator = run.learner.model.generator
            assert generator is not None and generator.answered is not None
            codes = generator.embeddings
            found.append([j for j in range(event.task) if torch.equal(codes[j], codes[event.task])])
    assert found == expected
    assert generator is not None and generator.answered is not None and generator.answered[0] > 0.5
    names = run.learner.model.trainable()
    assert "generator.embeddings.2" in names and "generator.answered.2" not in names
    assert "generator.answered.0" in run.learner.model.stored()


@pytest.mark.parametrize("condition", ["similar", "prototypes"])
def test_numbers_have_no_classes_to_go_by(condition: str) -> None:
    with pytest.raises(
        HypermnesiaError, match=f"condition={condition} goes by the samples of each class, and the targets"
    ):
        hm.build(hm.resolve("split-diabetes", "hnet", [f"generator.condition={condition}"]))
