"""NoisyCIFAR (partial hypernetworks, arXiv:2306.10724): new classes in new image conditions."""

from hypermnesia.errors import HypermnesiaError
from hypermnesia.streams.augment import Preprocess
from hypermnesia.streams.build import build
from hypermnesia.streams.corrupt import KINDS
from hypermnesia.streams.source import Source, require_images
from hypermnesia.streams.split import Order, class_order, cut_classes, groups
from hypermnesia.streams.stream import Stream
from hypermnesia.streams.transforms import Corruptions


def noisy(
    source: Source,
    *,
    tasks: int = 4,
    classes_per_task: int = 5,
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
