"""Streams whose tasks are the same classes, or new ones, in another domain: permuted, rotated, noisy.

Noisy: NoisyCIFAR of the partial hypernetworks (arXiv:2306.10724), new classes in new image conditions.
"""

from collections.abc import Sequence
from math import prod

import torch

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.build import Cut, build, check_tasks
from hypermnesia.data.options import Interpolation
from hypermnesia.data.preprocess import Preprocess, standardised_source
from hypermnesia.data.sources.given import Data
from hypermnesia.data.sources.registry import source_of
from hypermnesia.data.sources.source import Source, require_images
from hypermnesia.data.split import Order, class_order, cut_classes, groups
from hypermnesia.data.stream import Stream
from hypermnesia.data.transforms import KINDS, Chain, Corruptions, Pad, Permutations, Rotations, Transform


def permuted(
    source: Source | Data,
    *,
    test: Data = None,
    tasks: int,
    pad: int = 0,
    first_permuted: bool = True,
    seed: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "permuted",
) -> Stream:
    """Each task shuffles the pixels of all images in its own way, after `pad` black pixels on every side.

    `first_permuted=False` leaves the first task's images as they are (von Oswald et al. 2020); the replay
    papers permute all of them. Of vectors the features are permuted, after they were standardised. `source`, `test`: as
    in `split`.
    """
    source = source_of(source, test)
    check_tasks(tasks)
    check_count("pad", pad, least=0)
    if source.kind == "vectors" and not pad:
        source, preprocess = standardised_source(source), preprocess or Preprocess()
    else:
        require_images(source, name)
    padding = Pad(pad)
    places = prod(padding.shape(source.shape)[1:]) if source.kind == "images" else source.shape[0]
    table = Permutations.draw(tasks, places, seed, first_permuted)
    transform = Chain([padding, table]) if pad else table
    names = [f"permutation {t}" if t or first_permuted else "unpermuted" for t in range(tasks)]
    return _domains(source, names, transform, preprocess, name)


def rotated(
    source: Source | Data,
    *,
    test: Data = None,
    tasks: int,
    interpolation: Interpolation = "nearest",
    seed: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "rotated",
) -> Stream:
    """Each task turns all images by one angle, uniform in 0..180 degrees (Lopez-Paz & Ranzato 2017).

    `interpolation`: nearest as published, or bilinear, which is smoother and scores higher.
    """
    source = source_of(source, test)
    require_images(source, name)
    check_tasks(tasks)
    angles = [
        torch.rand((), generator=generator(seed, "rotation", t), dtype=torch.float64) for t in range(tasks)
    ]
    degrees = 180 * torch.stack(angles)
    names = [f"{angle:.1f} degrees" for angle in degrees.tolist()]
    return _domains(source, names, Rotations(degrees, interpolation), preprocess, name)


def _domains(
    source: Source, names: list[str], transform: Transform, preprocess: Preprocess | None, name: str
) -> Stream:
    classes = tuple(range(len(source.class_names)))
    train, test = torch.arange(len(source.train)), torch.arange(len(source.test))
    cuts = [Cut(title, classes, train, test, code, code) for code, title in enumerate(names)]
    return build(name, source, cuts, transform=transform, preprocess=preprocess, shared_labels=True)


def noisy(
    source: Source,
    *,
    tasks: int = 4,
    classes_per_task: int | Sequence[int] = 5,
    order: Order = "seed",
    seed: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "noisy",
) -> Stream:
    """A split stream whose task t shows its images under corruption t of `corrupt.KINDS`, tests as well.

    The corruption depends on the task alone and is the same each time an image is seen. Raises
    `HypermnesiaError` beyond the four published tasks and where `split` does.
    """
    require_images(source, name)
    kinds = tuple(KINDS)
    if tasks > len(kinds):
        raise HypermnesiaError(
            f"stream.tasks={tasks}, but {name} has {len(kinds)} image conditions ({', '.join(kinds)}): "
            f"at most {len(kinds)} tasks"
        )
    chosen = groups(source.name, class_order(source, order, seed), tasks, classes_per_task)
    cuts = [cut_classes(source, group, code) for code, group in enumerate(chosen)]
    return build(name, source, cuts, transform=Corruptions(kinds[:tasks]), preprocess=preprocess)
