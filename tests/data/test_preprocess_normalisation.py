import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Preprocess
from hypermnesia.data.preprocess import CIFAR10, MNIST, TINY_MASKS, Normalisation, statistics


def test_statistics_equal_those_of_a_float_copy(make_source):
    source = make_source(channels=3)
    mean, std = statistics(source)
    x = source.train.x.double() / 255
    assert mean == pytest.approx(x.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(x.std((0, 2, 3), correction=0).tolist())
    source.train.x[:, 1] = 7
    assert statistics(source)[1][1] == 1.0


def test_what_a_benchmark_uses_by_itself(make_source):
    gray, colour = make_source(), make_source(channels=3)
    assert MNIST.preprocess(gray, None, None) == Preprocess()
    assert CIFAR10.preprocess(colour, None, None) == Preprocess(
        (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2615), 4, True
    )
    assert TINY_MASKS.preprocess(colour, None, None) == Preprocess(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )


def test_what_a_user_asks_for_goes_before(make_source):
    gray, colour = make_source(), make_source(channels=3)
    assert MNIST.preprocess(gray, "standard", True) == Preprocess((0.1307,), (0.3081,), 4, False)
    assert CIFAR10.preprocess(colour, "unit", False) == Preprocess()
    assert CIFAR10.preprocess(colour, "imagenet", False).std == (0.229, 0.224, 0.225)
    with pytest.raises(HypermnesiaError, match="stream.normalize=imagenet is for 3 channels; the images of"):
        MNIST.preprocess(gray, "imagenet", None)


def test_unknown_images_are_cropped_by_an_eighth_and_flipped_in_colour(make_source):
    normalisation = Normalisation(flip=None)
    assert normalisation.preprocess(make_source(side=24), None, True) == Preprocess(crop=3, flip=False)
    assert normalisation.preprocess(make_source(channels=3), None, True) == Preprocess(crop=1, flip=True)
    mean, std = statistics(make_source())
    assert normalisation.preprocess(make_source(), "standard", None) == Preprocess(mean, std)
    assert torch.tensor(std).min() > 0
