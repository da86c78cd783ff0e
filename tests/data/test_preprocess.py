import pytest
import torch
import torch.nn.functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data import Preprocess
from hypermnesia.data.preprocess import crop_and_flip

RAW = torch.randint(256, (16, 3, 6, 5), dtype=torch.uint8, generator=generator(0))


def test_conversion_and_normalisation():
    assert torch.equal(Preprocess()(RAW), RAW.float() / 255)
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    expected = (RAW.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    out = Preprocess(mean, std)(RAW)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-6)


def test_crop_and_flip_equal_a_loop_over_images():
    rng = generator(1)
    offsets = torch.randint(5, (2, 16), generator=rng)
    flipped = torch.randint(2, (16,), generator=rng).bool()
    out = crop_and_flip(RAW, 2, offsets, flipped)
    for i in range(16):
        padded = F.pad(RAW[i], [2] * 4)
        row, column = offsets[:, i].tolist()
        expected = padded[:, row : row + 6, column : column + 5]
        assert torch.equal(out[i], expected.flip(2) if flipped[i] else expected)


def test_augmentation_needs_a_generator_and_repeats_with_it():
    preprocess = Preprocess(crop=2, flip=True)
    assert torch.equal(preprocess(RAW), preprocess(RAW))
    assert torch.equal(preprocess(RAW), Preprocess()(RAW))
    first = preprocess(RAW, generator(3))
    assert torch.equal(first, preprocess(RAW, generator(3)))
    assert not torch.equal(first, preprocess(RAW, generator(4)))


def test_without_augmentation_a_generator_is_not_touched():
    rng = generator(5)
    before = rng.get_state()
    assert torch.equal(Preprocess()(RAW, rng), Preprocess()(RAW))
    assert torch.equal(rng.get_state(), before)


def test_generated_images_are_painted_anew_as_whole_grey_levels():
    x = 255 * torch.rand(60, 3, 8, 8, generator=generator(0))
    preprocess = Preprocess(flip=True, jitter=0.3, autoaugment="cifar10")
    found = preprocess(x, generator(1))
    assert torch.equal(found, preprocess(x.round().to(torch.uint8), generator(1)))


def test_every_offset_and_both_directions_occur():
    marked = torch.zeros(400, 1, 3, 3, dtype=torch.uint8)
    marked[:, 0, 1, 0] = 255
    out = Preprocess(crop=1, flip=True)(marked, generator(0))
    seen = {tuple(image[0].nonzero()[0].tolist()) for image in out if image.any()}
    assert seen == {(i, j) for i in range(3) for j in range(3)}
    share = Preprocess(flip=True)(marked, generator(0))[:, 0, 1, 2].mean()
    assert 0.4 < share < 0.6


def test_the_draws_do_not_depend_on_the_pixels():
    one, other = generator(0), generator(0)
    preprocess = Preprocess(crop=4, flip=True)
    preprocess(RAW, one)
    preprocess(torch.zeros_like(RAW), other)
    assert torch.equal(one.get_state(), other.get_state())


def test_tokens_pass_through():
    tokens = torch.arange(6).view(2, 3)
    assert Preprocess((0.5,), (0.5,), 4, True)(tokens, generator(0)) is tokens


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"mean": (0.0, 0.0)}, "expected one of each per channel"),
        ({"std": (0.0,)}, "std above 0"),
        ({"crop": -1}, "crop -1; expected a padding of 0 or more pixels"),
    ],
)
def test_bad_fields(fields: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        Preprocess(**fields)
