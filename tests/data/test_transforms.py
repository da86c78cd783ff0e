import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hypermnesia.core.rng import generator
from hypermnesia.data.transforms import Chain, Corruptions, Identity, Pad, Permutations, Rotations, Transform

X = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=generator(0))
TABLE = Permutations.draw(3, 64, seed=1, first_permuted=True)
TURNS = Rotations(torch.tensor([0.0, 90.0, 31.4], dtype=torch.float64))
MIX = Corruptions(("none", "solarize", "blur-0.9"))
FAMILIES = [Identity(), Pad(2), TABLE, TURNS, MIX, Chain([Pad(1), Permutations.draw(3, 100, 1, True), TURNS])]


@pytest.mark.parametrize("transform", FAMILIES, ids=lambda t: type(t).__name__)
def test_mixed_codes_equal_a_loop_over_samples(transform: Transform):
    codes = torch.tensor([2, 0, 1, 1, 0, 2])
    loop = torch.cat([transform(X[i : i + 1], int(code)) for i, code in enumerate(codes)])
    assert torch.equal(transform(X, codes), loop)
    assert loop.dtype == torch.uint8
    assert transform.shape((3, 8, 8)) == tuple(loop.shape[1:])


def permuted_by_hand(x: Tensor, row: list[int]) -> Tensor:
    out = torch.empty_like(x)
    height, width = x.shape[-2:]
    for target, source in enumerate(row):
        out[..., target // width, target % width] = x[..., source // width, source % width]
    assert height * width == len(row)
    return out


def test_permutation_equals_moving_pixels_one_by_one():
    for code in range(3):
        assert torch.equal(TABLE(X, code), permuted_by_hand(X, TABLE.table[code].tolist()))


def test_permutations_are_seeded_and_the_first_may_stay():
    other = Permutations.draw(3, 64, seed=1, first_permuted=False)
    assert torch.equal(other(X, 0), X)
    assert torch.equal(other.table[1:], TABLE.table[1:])
    assert all(row.sort().values.tolist() == list(range(64)) for row in TABLE.table)
    assert not torch.equal(TABLE.table[0], TABLE.table[1])
    assert torch.equal(Permutations.draw(9, 64, seed=1, first_permuted=True).table[:3], TABLE.table)
    assert not torch.equal(Permutations.draw(3, 64, seed=2, first_permuted=True).table, TABLE.table)


def test_rotation_by_nothing_a_quarter_and_a_half():
    turns = Rotations(torch.tensor([0.0, 90.0, 180.0], dtype=torch.float64))
    assert torch.equal(turns(X, 0), X)
    assert torch.equal(turns(X, 1), X.rot90(1, (2, 3)))  # counter-clockwise
    assert torch.equal(turns(X, 2), X.flip(2, 3))


def test_rotation_of_an_oblong_image_keeps_its_proportions():
    x = torch.zeros(1, 1, 9, 21, dtype=torch.uint8)
    x[0, 0, 4, 10:13] = 255  # from the centre two pixels to the right
    turned = Rotations(torch.tensor([90.0], dtype=torch.float64))(x, 0)
    assert turned[0, 0, 2:5, 10].tolist() == [255, 255, 255]  # from the centre two pixels up
    assert int(turned.long().sum()) == 3 * 255


def rotated_by_hand(image: Tensor, degrees: float) -> Tensor:
    """Bilinear interpolation pixel by pixel, zero outside."""
    side = image.shape[-1]
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    cos, sin, centre = float(angle.cos()), float(angle.sin()), (side - 1) / 2
    out = torch.zeros(side, side, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            dx, dy = column - centre, row - centre
            u, v = centre + cos * dx - sin * dy, centre + sin * dx + cos * dy
            for i in (int(v // 1), int(v // 1) + 1):
                for j in (int(u // 1), int(u // 1) + 1):
                    if 0 <= i < side and 0 <= j < side:
                        out[row, column] += (1 - abs(v - i)) * (1 - abs(u - j)) * image[i, j]
    return out


def test_rotation_equals_interpolation_by_hand():
    turned = Rotations(TURNS.degrees, "bilinear")(X[:1], 2)[0, 0].double()
    assert (turned - rotated_by_hand(X[0, 0].double(), 31.4)).abs().max() <= 0.51  # rounding to uint8


def test_the_nearest_pixel_is_the_one_that_pillow_takes():
    """The published streams turn their images with it (torchvision 0.4: `rotate` without an interpolation). Where two
    pixels are equally near, in less than one of a thousand, the rounding decides."""
    degrees = torch.tensor([7.3, 31.4, 158.9, 301.2], dtype=torch.float64)
    images = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8, generator=generator(1))
    pillow = [
        Image.fromarray(x.numpy()).rotate(a) for x, a in zip(images[:, 0], degrees.tolist(), strict=True)
    ]
    turned = Rotations(degrees)(images, torch.arange(4))[:, 0].numpy()
    assert (turned != np.stack(pillow)).mean() < 1e-3


def test_descriptions_tell_transforms_apart():
    described = [str(t.describe()) for t in (*FAMILIES, Pad(3), Permutations(TABLE.table.flip(0)))]
    described.append(str(Rotations(TURNS.degrees + 1).describe()))
    described.append(str(Rotations(TURNS.degrees, "bilinear").describe()))
    assert len(set(described)) == len(described)
    assert Permutations(TABLE.table.clone()).describe() == TABLE.describe()
