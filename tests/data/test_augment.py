"""Pillow is the slow twin of everything in `data/augment.py`."""

from collections.abc import Callable

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from hypermnesia.core.rng import generator
from hypermnesia.data.augment import _OPS, _SIGNED, CIFAR10, autoaugment, jitter, magnitude

GREY = (128, 128, 128)
X = torch.cat(
    [
        torch.randint(256, (6, 3, 12, 12), dtype=torch.uint8, generator=generator(0)),
        torch.randint(90, 110, (1, 3, 12, 12), dtype=torch.uint8, generator=generator(1)),
        torch.full((1, 3, 12, 12), 77, dtype=torch.uint8),
        torch.randint(256, (1, 3, 1, 1), dtype=torch.uint8, generator=generator(2)).expand(1, 3, 12, 12),
    ]
)


def _affine(
    image: Image.Image, *matrix: float, how: Image.Resampling = Image.Resampling.NEAREST
) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=GREY)


TWINS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "invert": lambda image, _: ImageOps.invert(image),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + m),
    "rotate": lambda image, m: image.rotate(m, fillcolor=GREY),
    "translate_x": lambda image, m: _affine(image, 1, 0, m * image.size[0], 0, 1, 0),
    "translate_y": lambda image, m: _affine(image, 1, 0, 0, 0, 1, m * image.size[1]),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + m),
    "shear_y": lambda image, m: _affine(image, 1, 0, 0, m, 1, 0, how=Image.Resampling.BICUBIC),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
    "colour": lambda image, m: ImageEnhance.Color(image).enhance(1 + m),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(1 + m),
    "solarize": lambda image, m: ImageOps.solarize(image, m),
}


def _image(x: Tensor) -> Image.Image:
    return Image.fromarray(x.permute(1, 2, 0).contiguous().numpy())


def _tensor(image: Image.Image) -> Tensor:
    return torch.tensor(list(image.tobytes()), dtype=torch.uint8).view(*image.size[::-1], 3).permute(2, 0, 1)


@pytest.mark.parametrize("name", _OPS)
def test_an_operation_is_pillows_for_each_image(name):
    signs = (1, -1) if name in _SIGNED else (1,)
    for level in {level for pair in CIFAR10 for op, _, level in pair if op == name}:
        for sign in signs:
            size = sign * magnitude(name, level)
            out = _OPS[name](X, torch.full((len(X),), size, dtype=torch.float64))
            for x, changed in zip(X, out, strict=True):
                assert torch.equal(changed, _tensor(TWINS[name](_image(x), size))), (level, sign)


def test_a_batch_is_augmented_as_a_loop_over_images_would():
    x = torch.randint(256, (300, 3, 12, 12), dtype=torch.uint8, generator=generator(3))
    out = autoaugment(x, generator(4))
    rng = generator(4)
    pairs = torch.randint(25, (300,), generator=rng).tolist()
    chances = torch.rand(2, 300, generator=rng, dtype=torch.float64).tolist()
    signs = torch.randint(2, (2, 300), generator=rng, dtype=torch.float64).tolist()
    for i in range(300):
        image = _image(x[i])
        for place, (name, chance, level) in enumerate(CIFAR10[pairs[i]]):
            if chances[place][i] < chance:
                sign = 2 * signs[place][i] - 1 if name in _SIGNED else 1
                image = TWINS[name](image, sign * magnitude(name, level))
        assert torch.equal(out[i], _tensor(image)), (i, CIFAR10[pairs[i]])


def test_jitter_is_pillows_brightness_within_its_bounds():
    out = jitter(X, 63 / 255, generator(5))
    draws = torch.rand(len(X), generator=generator(5), dtype=torch.float64)
    for x, changed, draw in zip(X, out, draws.tolist(), strict=True):
        factor = 1 + 63 / 255 * (2 * draw - 1)
        assert torch.equal(changed, _tensor(ImageEnhance.Brightness(_image(x)).enhance(factor)))
    white = torch.full((500, 1, 2, 2), 200, dtype=torch.uint8)
    levels = jitter(white, 0.2, generator(6))[:, 0, 0, 0]
    assert (int(levels.min()), int(levels.max())) in {(160 + a, 239 - b) for a in range(3) for b in range(3)}


def test_what_is_drawn_depends_on_the_number_of_images_alone():
    one, other = generator(7), generator(7)
    autoaugment(X, one)
    autoaugment(torch.zeros_like(X), other)
    assert torch.equal(one.get_state(), other.get_state())
