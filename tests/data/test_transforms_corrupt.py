import math

import torch

from hypermnesia.core.rng import generator
from hypermnesia.data.transforms import KINDS, autocontrast, gaussian_blur, grayscale, solarize

X = torch.randint(40, 200, (2, 3, 7, 9), dtype=torch.uint8, generator=generator(0))


def test_solarize_inverts_the_bright_half():
    x = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert solarize(x).tolist() == [0, 127, 127, 0]


def test_autocontrast_stretches_each_channel_and_leaves_flat_ones():
    x = X.clone()
    x[1, 2] = 77
    out = autocontrast(x)
    for image in range(2):
        for channel in range(3):
            before, after = x[image, channel].double(), out[image, channel].double()
            if before.min() == before.max():
                assert torch.equal(before, after)
            else:
                exact = (before - before.min()) * 255 / (before.max() - before.min())
                assert (after - exact).abs().max() <= 0.501
                assert (after.min(), after.max()) == (0, 255)


def test_grayscale_is_luma_in_three_channels():
    out = grayscale(X)
    r, g, b = X.double().unbind(1)
    for channel in out.unbind(1):
        assert (channel - (0.2989 * r + 0.587 * g + 0.114 * b)).abs().max() <= 0.501
    assert torch.equal(grayscale(X[:, :1]), X[:, :1])


def test_blur_equals_a_weighted_sum_by_hand_with_mirrored_edges():
    weights = [[math.exp(-(i * i + j * j) / (2 * 0.81)) for j in range(-2, 3)] for i in range(-2, 3)]
    total = sum(map(sum, weights))
    height, width = X.shape[-2:]

    def mirror(i: int, n: int) -> int:
        return -i if i < 0 else 2 * (n - 1) - i if i >= n else i

    out = gaussian_blur(X, 0.9)
    for row in range(height):
        for column in range(width):
            exact = torch.zeros(2, 3, dtype=torch.float64)
            for i in range(-2, 3):
                for j in range(-2, 3):
                    exact += (
                        weights[i + 2][j + 2]
                        / total
                        * X[:, :, mirror(row + i, height), mirror(column + j, width)]
                    )
            assert (out[:, :, row, column] - exact).abs().max() <= 0.501


def test_the_published_conditions_in_their_order():
    assert list(KINDS) == ["none", "solarize", "blur-0.9", "autocontrast-gray-blur-0.65"]
    assert torch.equal(KINDS["none"](X), X)
    assert torch.equal(KINDS["blur-0.9"](X), gaussian_blur(X, 0.9))
    last = KINDS["autocontrast-gray-blur-0.65"](X)
    assert torch.equal(last, gaussian_blur(grayscale(autocontrast(X)), 0.65))
