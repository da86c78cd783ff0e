"""Images per second of the feature cache, beside a loop as timm shows it: its transform for each image, batches of 64.

Run it: python -m benchmarks.features (needs the extra pretrained; a minute)
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from hypermnesia.core.rng import generator
from hypermnesia.data.sources.source import Images, Source
from hypermnesia.experiments.features import featured
from hypermnesia.nets.backbones import CHUNK, Backbone, open_backbone

IMAGES, SIZE = 512, 96


def cache(images: torch.Tensor, backbone: Backbone) -> None:
    """What `stream.features` does, its files and checksums with it."""
    y = torch.arange(len(images)) % 2
    source = Source("images", Images(images, y), Images(images[:2].clone(), y[:2].clone()), ("a", "b"))
    with tempfile.TemporaryDirectory() as directory:
        os.environ["HYPERMNESIA_CACHE"] = directory
        featured(source, backbone)


@torch.inference_mode()
def loop(images: torch.Tensor, backbone: Backbone) -> None:
    """timm's: pictures, its own transform, a batch at a time."""
    from timm.data.transforms_factory import create_transform

    sees = {"interpolation": "bicubic", "mean": backbone.mean, "std": backbone.std, "crop_pct": 1.0}
    transform: Any = create_transform((3, SIZE, SIZE), **sees)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    for start in range(0, len(pictures), CHUNK):
        backbone.net(torch.stack([transform(picture) for picture in pictures[start : start + CHUNK]]))


def main() -> None:
    backbone = open_backbone("pretrained", SIZE)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), generator=generator(0, "images"), dtype=torch.uint8)
    ways: dict[str, Callable[[torch.Tensor, Backbone], None]] = {"cache": cache, "timm's loop": loop}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            started = time.process_time()
            way(images, backbone)
            times[name].append(time.process_time() - started)
    for name, taken in times.items():
        rate = IMAGES / statistics.median(taken)
        print(f"{name:12} {rate:5.0f} images per CPU second at {SIZE} px, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
