"""Batches made ahead are the batches that would have been made one at a time."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import small
import torch
from torch import nn

from hypermnesia.data import Part, Preprocess, Stream, from_tensors, noisy
from hypermnesia.data.preprocess import crop_and_flip
from hypermnesia.data.transforms import KINDS
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Batch, Learner
from hypermnesia.training.batches import Batches, Order
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions

STEPS = 25


def learner_of(stream: Stream) -> Learner:
    run = Fit(small.model(stream), stream, Finetune(), TrainOptions(iterations=1))
    run.learner.task = 1
    return run.learner


def order_of(part: Part, endless: bool) -> Order:
    return Order(len(part), 5, endless, torch.Generator().manual_seed(3))


def one_at_a_time(part: Part, order: Order, learner: Learner) -> Iterator[Batch]:
    """The slow twin."""
    while True:
        raw, y = part.batch(order.next())
        x = learner.preprocess(raw, order.rng)
        yield Batch(x, y, learner.targets(y, learner.task), learner.task, raw)


def assert_same(ours: Batch, theirs: Batch) -> None:
    assert ours.task == theirs.task
    for name in ("x", "y", "target", "raw"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


STREAMS = {
    "split": small.split_stream,
    "permuted": small.permuted_stream,
    "augmented": lambda: small.split_stream(augment=True),
}


@pytest.mark.parametrize("endless", [True, False], ids=["iterations", "epochs"])
@pytest.mark.parametrize("form", STREAMS)
def test_the_same_batches(form: str, endless: bool) -> None:
    stream = STREAMS[form]()
    learner, part = learner_of(stream), stream.tasks[1].train
    assert len(part) % 5, "the last batch of an epoch is to be a partial one"
    order, other = order_of(part, endless), order_of(part, endless)
    batches, slow = Batches(part, order, learner, order.rng), one_at_a_time(part, other, learner)
    for _ in range(STEPS):
        assert_same(batches.next(), next(slow))
        assert order.offset == other.offset
        assert torch.equal(order.rng.get_state(), other.rng.get_state())


def test_only_what_draws_nothing_and_stays_is_made_ahead() -> None:
    def fetches(stream: Stream, fixed: bool) -> int:
        calls = []

        class Counted(Part):
            def batch(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                calls.append(len(positions))
                return super().batch(positions)

        part = stream.tasks[1].train
        counted = Counted(part.images, part.index, part.labels, part.transform, part.code)
        order = order_of(counted, True)
        batches = Batches(counted, order, learner_of(stream), order.rng, fixed)
        for _ in range(9):
            batches.next()
        return len(calls)

    assert fetches(small.split_stream(), fixed=True) < 6
    assert fetches(small.split_stream(), fixed=False) == 9
    assert fetches(small.split_stream(augment=True), fixed=True) == 9


def test_the_order_alone_says_where_to_go_on() -> None:
    stream = small.split_stream()
    learner, part = learner_of(stream), stream.tasks[1].train
    order = order_of(part, True)
    first = Batches(part, order, learner, order.rng)
    for _ in range(7):
        first.next()
    rng = torch.Generator()
    rng.set_state(order.rng.get_state())
    again = Batches(part, replace(order, rng=rng), learner, rng)
    for _ in range(STEPS):
        assert_same(again.next(), first.next())


def test_channels_last() -> None:
    stream = small.split_stream()
    learner, part = learner_of(stream), stream.tasks[1].train
    order = order_of(part, True)
    batches = Batches(part, order, learner, order.rng, channels_last=True)
    for _ in range(6):
        x = batches.next().x
        assert x.stride() == x.contiguous(memory_format=torch.channels_last).stride()


def test_noisy_images_are_corrupted_as_they_are_cropped() -> None:
    """The black border of a crop is in the contrast that is stretched, and in the blur."""
    x = torch.randint(60, 200, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = from_tensors(x, torch.arange(40) % 8, x, torch.arange(40) % 8)
    stream = noisy(source, classes_per_task=2, preprocess=Preprocess(crop=2, flip=True))
    net = small.model(stream, net=lambda outputs: nn.Sequential(nn.Flatten(), nn.Linear(192, outputs)))
    learner, part = Fit(net, stream, Finetune(), TrainOptions(iterations=1)).learner, stream.tasks[3].train
    learner.task = 3
    order, other = order_of(part, True), order_of(part, True)
    batches = Batches(part, order, learner, order.rng)
    for _ in range(4):
        images = x[part.index[other.next()]]
        corrupt = KINDS["autocontrast-gray-blur-0.65"]
        expected = corrupt(crop_and_flip(images, 2, *stream.preprocess.choices(len(images), other.rng))) / 255
        ours = batches.next()
        assert torch.equal(ours.x, expected)
        assert ours.raw.amin() >= 0 and not torch.equal(ours.raw / 255, expected)
