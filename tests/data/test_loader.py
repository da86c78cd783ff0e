"""A stream's parts as DataLoaders."""

from dataclasses import replace

import pytest
import torch
from small import split_stream

import hypermnesia as hm
from hypermnesia.core.rng import generator
from hypermnesia.data import Preprocess
from hypermnesia.training.batches import Order


def test_without_a_generator_it_gives_the_part_in_order_and_as_it_is():
    stream = split_stream(augment=True)
    part = stream.tasks[1].test
    batches = list(hm.loader(stream, part, batch_size=4))
    raw, y = part.batch(torch.arange(len(part)))
    assert [len(own) for _, own in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([x for x, _ in batches]), stream.preprocess(raw))
    assert torch.equal(torch.cat([own for _, own in batches]), y)
    assert len(hm.loader(stream, part, batch_size=4)) == 3
    assert batches[0][0].dtype == torch.float32


@pytest.mark.parametrize("endless", [False, True])
def test_its_batches_are_those_of_a_run(endless):
    stream = split_stream(augment=True)
    part = stream.tasks[0].train  # of 24 samples
    ours, theirs = generator(0, "order"), generator(0, "order")
    order = Order(len(part), 7, endless, theirs)
    found = hm.loader(stream, part, 7, ours, steps=9 if endless else None)
    assert len(found) == (9 if endless else 4)
    for x, y in found:
        raw, labels = part.batch(order.next())
        assert torch.equal(x, stream.preprocess(raw, theirs)) and torch.equal(y, labels)


def test_an_ordered_stream_is_augmented_but_not_shuffled():
    stream = replace(split_stream(), ordered=True, preprocess=Preprocess(flip=True))
    part = stream.tasks[0].train
    [(x, y)] = hm.loader(stream, part, len(part), generator(0))
    raw, labels = part.batch(torch.arange(len(part)))
    assert torch.equal(y, labels) and not torch.equal(x, stream.preprocess(raw))


def test_sizes_are_checked():
    stream = split_stream()
    with pytest.raises(
        hm.HypermnesiaError, match="loader: batch_size=0: expected a whole number, at least 1"
    ):
        hm.loader(stream, stream.tasks[0].train, 0)
    with pytest.raises(hm.HypermnesiaError, match="loader: steps=0: expected a whole number, at least 1"):
        hm.loader(stream, stream.tasks[0].train, steps=0)
    nothing = stream.tasks[0].train.subset(torch.arange(0))
    with pytest.raises(hm.HypermnesiaError, match="loader: this part holds no samples to make batches of"):
        hm.loader(stream, nothing, steps=1)
    assert not list(hm.loader(stream, nothing))
    for part, got in ((stream.tasks[0], "Task"), (stream.tasks[0].validation, "NoneType")):
        with pytest.raises(
            hm.HypermnesiaError, match=f"such as task.train or task.test, got {got}; validation parts"
        ):
            hm.loader(stream, part)
