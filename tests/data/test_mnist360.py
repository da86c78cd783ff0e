import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import mnist360


def test_pairs_follow_one_another_for_three_rounds(make_source):
    stream = mnist360(make_source(classes=10, per_class=25))
    pairs = [(d, (d + 1) % 9) for d in range(9)] * 3
    assert [task.classes for task in stream.tasks] == pairs
    assert [task.train.classes for task in stream.tasks] == [tuple(sorted(pair)) for pair in pairs]
    assert not stream.boundaries
    assert stream.ordered
    assert stream.num_classes == 9
    assert stream.tasks[9].name == "0 and 1, round 2"


def test_every_image_of_the_nine_digits_is_seen_once(make_source):
    source = make_source(classes=10, per_class=25)
    ids = torch.cat([task.train.ids for task in mnist360(source).tasks])
    assert ids.sort().values.tolist() == (source.train.y < 9).nonzero().squeeze(1).tolist()


def angles(stream, digit: int) -> torch.Tensor:
    """Degrees of a digit's training images in the order in which the stream shows them."""
    shown = []
    for task in stream.tasks:
        codes = task.train.code[task.train.y == digit]
        shown.append(task.train.transform.degrees[codes])
    return torch.cat(shown)


def test_each_digit_turns_steadily_through_a_full_turn(make_source):
    stream = mnist360(make_source(classes=10, per_class=24))
    for digit in range(9):
        expected = (digit - 1) * 60 + torch.arange(24, dtype=torch.float64) * 15
        torch.testing.assert_close(angles(stream, digit), expected)


def test_samples_are_the_turned_images_of_their_digit(make_source):
    source = make_source(classes=9, per_class=6)
    task = mnist360(source).tasks[12]
    x, y = task.train.batch(torch.arange(len(task.train)))
    assert torch.equal(y, source.train.y[task.train.ids])
    assert torch.equal(x, task.train.transform(source.train.x[task.train.ids], task.train.code))


def test_the_two_digits_of_a_pair_end_together(make_source):
    y = mnist360(make_source(classes=9, per_class=60)).tasks[4].train.y.tolist()
    assert len(y) == 20
    assert all(set(y[i : i + 2]) == {4, 5} for i in range(0, 20, 2))


def test_tests_show_each_digit_over_a_full_turn(make_source):
    stream = mnist360(make_source(classes=10, per_class=6))
    assert [part.classes for part in stream.tests] == [(digit,) for digit in range(9)]
    for digit, part in enumerate(stream.tests):
        degrees = part.transform.degrees[part.code].sort().values - (digit - 1) * 60
        assert degrees.tolist() == [0, 180]  # two test images of each digit


def test_the_order_is_seeded(make_source):
    source = make_source(classes=9, per_class=12)
    hashes = [mnist360(source, seed=seed).sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_too_few_classes_or_images(make_source):
    with pytest.raises(HypermnesiaError, match="mnist-360 needs the digits 0 to 8; tensors has 4 classes"):
        mnist360(make_source(classes=4))
    with pytest.raises(
        HypermnesiaError, match="shows each digit 6 times; tensors has 5 training images of one"
    ):
        mnist360(make_source(classes=9, per_class=5))
