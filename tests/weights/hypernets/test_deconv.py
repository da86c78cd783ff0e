"""The deconvolutional generator against its images, place by place."""

import torch
import torch.nn.functional as F

from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.deconv import DeconvOptions


def test_each_chunk_is_an_image_painted_place_by_place(cases):
    generator = cases["deconv"].build()
    layer, doubling = generator.trunk.layers[0], generator.doublings[0]
    for task in range(3):
        numbers = []
        for chunk in generator.chunks.weight:
            x = F.relu(F.linear(torch.cat([chunk, generator.embeddings[task]]), layer.weight, layer.bias))
            small = x.reshape(1, 3, 2, 2)
            image = F.relu(F.conv_transpose2d(small, doubling.weight, doubling.bias, stride=2, padding=1))[0]
            padded = F.pad(image, (1, 1, 1, 1))
            for row in range(4):
                for column in range(4):
                    around = padded[:, row : row + 3, column : column + 3].flatten()
                    numbers.append(generator.out(around))
        flat = torch.cat(numbers)
        sizes = [shape.numel() for shape in generator.shapes.values()]
        assert len(flat) >= sum(sizes) > len(flat) - 64  # 8 × 8 numbers a chunk
        written = generator([task])
        for (name, shape), part in zip(
            generator.shapes.items(), flat[: sum(sizes)].split(sizes), strict=True
        ):
            torch.testing.assert_close(written[name][0], part.reshape(shape))


def test_the_last_doubling_is_a_transposed_convolution_of_kernel_six(cases):
    """Its 2 × 2 numbers of each place, laid out as an image."""
    generator = cases["deconv"].build()
    image = torch.randn(1, 2, 4, 4, generator=rng_of(0), dtype=torch.float64)
    z = F.unfold(image, 3, padding=1).mT
    found = generator.out(z)[0].reshape(4, 4, 2, 2).permute(0, 2, 1, 3).reshape(8, 8)
    taps = generator.out.weight[:, :-1].reshape(2, 2, 2, 3, 3)  # (row, column, channel, 3, 3) of a place
    kernel = torch.zeros(2, 1, 6, 6, dtype=torch.float64)
    for row in range(2):
        for column in range(2):
            kernel[:, 0, row::2, column::2] = taps[row, column].flip(1, 2)
    bias = generator.out.weight[:, -1].reshape(2, 2).repeat(4, 4)
    expected = F.conv_transpose2d(image, kernel, stride=2, padding=2)[0, 0] + bias
    torch.testing.assert_close(found, expected)


def test_what_a_pass_writes():
    shapes = {"w": torch.Size((100, 50))}
    assert len(DeconvOptions().build(shapes, rng_of(0)).chunks.weight) == 20  # of 16 × 16 numbers
