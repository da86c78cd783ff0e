import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import open_source


def test_all_digits_scaled_to_bytes():
    source = open_source("digits")
    assert (len(source.train), len(source.test), source.shape) == (1438, 359, (1, 8, 8))
    assert source.class_names == tuple("0123456789")
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted((round(float(p.sum() * 255 / 16)), int(y)) for p, y in zip(pixels, labels, strict=True))
    x = torch.cat([source.train.x, source.test.x]).long()
    y = torch.cat([source.train.y, source.test.y])
    found = sorted(zip(x.sum((1, 2, 3)).tolist(), y.tolist(), strict=True))
    assert max(abs(a[0] - b[0]) for a, b in zip(found, expected, strict=True)) <= 32  # 64 roundings
    assert x.max() == 255


def test_the_test_part_is_a_fifth_of_each_digit_and_never_changes():
    source = open_source("digits")
    share = torch.bincount(source.test.y) / (torch.bincount(source.test.y) + torch.bincount(source.train.y))
    assert ((share - 0.2).abs() < 0.003).all()
    assert source.sha256 == "67340a5fda0de082e46588e8b972552a43a38599108831bb1de3672771d189ce"


def test_size_scales_them():
    source = open_source("digits", size=16)
    assert source.shape == (1, 16, 16)
    small = Image.fromarray(open_source("digits").test.x[7, 0].numpy())
    expected = np.asarray(small.resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(source.test.x[7, 0].numpy() - expected).max() <= 1


def test_unknown_sources():
    with pytest.raises(
        HypermnesiaError, match=r"unknown source 'digit'; did you mean 'digits'\? known: cifar10"
    ):
        open_source("digit")
