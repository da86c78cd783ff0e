"""scikit-learn's handwritten digits: the source that needs no download."""

from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F

from hypermnesia.rng import generator
from hypermnesia.streams.cache import cached
from hypermnesia.streams.choose import hold_out
from hypermnesia.streams.source import Images, Source

TEST_SHARE = 0.2


def read_digits(size: int | None) -> Source:
    """1,797 digits of 8 × 8 pixels (Alpaydin & Kaynak 1998), brought from 0..16 to 0..255; see `load_digits`.

    About a fifth of each class is the test part (1,438 train, 359 test), cut by a fixed seed: the same in
    every run. With `size` the images are scaled (antialiased bilinear) to `size` × `size` pixels.
    """

    def build() -> Source:
        from sklearn.datasets import load_digits  # takes most of a second, which the cache saves

        digits, labels = load_digits(return_X_y=True)
        pixels = np.rint(np.asarray(digits) * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        x, y = torch.from_numpy(pixels), torch.from_numpy(np.asarray(labels, dtype=np.int64))
        if size is not None:
            x = F.interpolate(x.float(), (size, size), mode="bilinear", antialias=True)
            x = x.round().clamp(0, 255).to(torch.uint8)
        kept, held = hold_out(y, TEST_SHARE, generator(0, "digits"))
        names = tuple(str(digit) for digit in range(10))
        return Source("digits", Images(x[kept], y[kept]), Images(x[held], y[held]), names)

    return cached("digits", {"scikit-learn": version("scikit-learn"), "size": size}, build)
