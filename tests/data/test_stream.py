import json
from dataclasses import replace

import pytest
import torch

from hypermnesia.core.rng import generator
from hypermnesia.data import Preprocess, Stream, from_tensors, permuted, slots, split, with_validation


def test_joined_has_all_samples_in_one_task_and_the_same_tests(make_source):
    stream = with_validation(permuted(make_source(per_class=10), tasks=3), 0.2, seed=0)
    joined = stream.joined()
    (task,) = joined.tasks
    assert joined.tests == stream.tests
    assert task.classes == (0, 1, 2, 3)
    for whole, pieces in (
        (task.train, [t.train for t in stream.tasks]),
        (task.test, [t.test for t in stream.tasks]),
        (task.validation, [t.validation for t in stream.tasks]),
    ):
        batches = [piece.batch(torch.arange(len(piece))) for piece in pieces]
        x, y = whole.batch(torch.arange(len(whole)))
        assert torch.equal(x, torch.cat([batch[0] for batch in batches]))
        assert torch.equal(y, torch.cat([batch[1] for batch in batches]))


def test_joined_split_stream_knows_all_classes(make_source):
    stream = split(make_source(), tasks=2)
    assert stream.joined().tasks[0].classes == (0, 1, 2, 3)
    assert not stream.joined().shared_labels
    assert stream.joined().sha256 != stream.sha256


def test_to_moves_what_is_shared_once(make_source):
    stream = with_validation(permuted(make_source(), tasks=3), 0.5, seed=0).to("meta")
    first = stream.tasks[0]
    for task, test in zip(stream.tasks, stream.tests, strict=True):
        assert task.train.images is first.train.images
        assert task.train.images.x.is_meta
        assert task.test.index is first.test.index
        assert task.train.transform is first.test.transform
        assert task.validation.images is task.train.images
        assert test is task.test
    assert first.train.labels.is_meta
    assert first.train.transform.table.is_meta


def test_manifest_is_json_without_names_of_places(make_source):
    source = make_source()
    manifest = split(source, tasks=2, name="folder:/secret/place").manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert "secret" not in json.dumps(manifest)
    assert manifest["source"] == source.sha256
    assert [task["train"]["samples"] for task in manifest["tasks"]] == [12, 12]


def changed(stream: Stream) -> dict[str, Stream]:
    first, second = stream.tasks
    train = first.train
    return {
        "order of the tasks": replace(stream, tasks=(second, first)),
        "order of the samples": replace(
            stream, tasks=(replace(first, train=train.subset(torch.arange(len(train)).flip(0))), second)
        ),
        "a label": replace(
            stream, tasks=(replace(first, train=replace(train, labels=train.labels.flip(0))), second)
        ),
        "member of the transform": replace(
            stream, tasks=(replace(first, train=replace(train, code=1)), second)
        ),
        "tests": replace(stream, tests=stream.tests[:1]),
        "preprocessing": replace(stream, preprocess=Preprocess(crop=1)),
        "jitter": replace(stream, preprocess=Preprocess(jitter=0.2)),
        "autoaugment": replace(stream, preprocess=Preprocess(autoaugment="cifar10")),
        "boundaries": replace(stream, boundaries=False),
        "order matters": replace(stream, ordered=True),
    }


def test_sha256_covers_everything_that_a_run_sees(make_source):
    stream = split(make_source(), tasks=2)
    others = changed(stream)
    hashes = {name: other.sha256 for name, other in others.items()}
    assert len({stream.sha256, *hashes.values()}) == len(others) + 1, hashes
    assert split(make_source(), tasks=2, name="other").sha256 == stream.sha256


def test_sha256_covers_the_pixels(make_source):
    source = make_source()
    x = source.train.x.clone()
    x[0, 0, 0, 0] ^= 1
    other = from_tensors(x, source.train.y, source.test.x, source.test.y, class_names=source.class_names)
    assert split(other, tasks=2).sha256 != split(source, tasks=2).sha256


def test_sha256_is_the_same_on_another_device_and_is_pinned(make_source):
    """The pinned value guards published manifests: it may change with the manifest's format number only."""
    pixels = torch.arange(8 * 4).byte().view(8, 1, 2, 2)
    y = torch.arange(8) % 4
    stream = permuted(from_tensors(pixels, y, pixels, y), tasks=2, seed=3)
    assert stream.sha256 == "d2db778b2bdba4401b263ec127249e945252615811dd356384599c5e89fa133d"
    assert stream.to("cpu").sha256 == stream.sha256


def test_streams_with_repetition_hold_tests_apart_from_tasks(make_source):
    stream = slots(make_source(), tasks=2, classes_per_task=3)
    assert len(stream.tests) == 4
    assert all(test is not task.test for test in stream.tests for task in stream.tasks)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_cuda_equal_those_on_the_cpu(make_source):
    stream = split(make_source(channels=3), tasks=2, preprocess=Preprocess((0.5,), (0.2,), 2, True))
    moved = stream.to("cuda")
    positions = torch.tensor([3, 0, 7])
    for here, there in zip(stream.tasks, moved.tasks, strict=True):
        x, y = here.train.batch(positions)
        cuda_x, cuda_y = there.train.batch(positions)
        assert torch.equal(cuda_x.cpu(), x)
        assert torch.equal(cuda_y.cpu(), y)
        augmented = moved.preprocess(cuda_x, generator(0)).cpu()
        torch.testing.assert_close(augmented, stream.preprocess(x, generator(0)))
    assert moved.sha256 == stream.sha256
