"""Streams, networks and runs so small that a test trains them in milliseconds."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import derive, generator
from hypermnesia.data import Preprocess, Source, Stream, from_tensors, permuted, split
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.methods.base import Method
from hypermnesia.methods.finetune import Finetune
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.weights import ChunkedOptions, DenseOptions, HeadsOptions, LowRankOptions, Model
from hypermnesia.weights.build import model_for
from hypermnesia.weights.options import Kind, Weights, of_kind

SHAPE = (1, 4, 4)
WRITERS: dict[Kind, Any] = {
    "hyper": ChunkedOptions(chunk=50, embedding=3, chunk_embedding=2, hidden=(6,)),
    "partial": HeadsOptions(embedding=3, hidden=(5,), channel_embedding=2),
    "mask": DenseOptions(embedding=3, hidden=(5,)),
    "lora": LowRankOptions(rank=1, embedding=3, layer_embedding=2, hidden=(4,)),
}

torch.set_num_threads(1)


def source(classes: int = 6, per_class: int = 12, test_per_class: int = 5, seed: int = 0) -> Source:
    """Images (1, 4, 4): a random pattern for every class, with noise."""
    rng = generator(seed, "source")
    patterns = torch.rand(classes, *SHAPE, generator=rng)

    def images(count: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(classes).repeat(count)
        noise = torch.randn(len(y), *SHAPE, generator=rng)
        return ((patterns[y] + 0.15 * noise).clamp(0, 1) * 255).round().to(torch.uint8), y

    return from_tensors(*images(per_class), *images(test_per_class))


def split_stream(tasks: int = 3, seed: int = 0, augment: bool = False, **options: Any) -> Stream:
    """Tasks of two classes each."""
    preprocess = Preprocess(mean=(0.5,), std=(0.5,), crop=1 if augment else 0, flip=augment)
    return split(source(2 * tasks, seed=seed, **options), tasks=tasks, preprocess=preprocess)


def permuted_stream(tasks: int = 3, classes: int = 4, seed: int = 0) -> Stream:
    """The same classes in every task, their pixels in another order."""
    return permuted(source(classes, seed=seed), tasks=tasks, seed=seed, preprocess=Preprocess((0.5,), (0.5,)))


def mlp(outputs: int, dropout: float = 0.0, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """16 → 8 → outputs, in stages `flatten`, `layer` and `head`."""
    layer = nn.Sequential(nn.Linear(16, 8), activation(), nn.Dropout(dropout))
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), layer=layer, head=nn.Linear(8, outputs)))


def conv(outputs: int, affine: bool = True) -> nn.Sequential:
    """Two convolutions with batch norm, in stages `stem`, `mid`, `pool` and `head`."""

    def stage(inputs: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, affine=affine),
            nn.ReLU(),
        )

    pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    stages = OrderedDict(stem=stage(1, 3), mid=stage(3, 4), pool=pool, head=nn.Linear(16, outputs))
    return nn.Sequential(stages)


def model(
    stream: Stream, weights: Kind | Weights = "plain", net: Any = mlp, writer: Any = None, seed: int = 0
) -> Model:
    """A model of `net` (a function outputs → module) on one of the kinds of weights."""
    options = of_kind(weights) if isinstance(weights, str) else weights
    if (
        options.writes and getattr(options, "written", "generated") == "generated"
    ):  # others are small as they are
        writer = writer or WRITERS.get(options.kind)
    return model_for(stream, net, options, writer, seed=seed)


def grown(found: Model, tasks: int, seed: int = 0) -> Model:
    """The model with so many tasks, and their embeddings, rows and statistics all different."""
    for _ in range(tasks):
        found.begin_task(generator(seed, "grow", found.num_tasks))
    with torch.no_grad():
        for name, value in found.stored().items():
            if value.is_floating_point() and name.split(".")[0] in ("rows", "statistics"):
                noise = torch.randn(value.shape, generator=generator(seed, name))
                value.add_(0.1 * noise.abs())
    found.trainable()
    return found


def run(
    stream: Stream | None = None,
    weights: Kind | Weights = "plain",
    method: Method | None = None,
    train: TrainOptions | None = None,
    *,
    net: Any = mlp,
    seed: int = 0,
    optimizer: OptimizerOptions | None = None,
    **options: Any,
) -> Fit:
    """A run over three tasks of 5 steps with 4 samples each, unless something else is asked for."""
    stream = stream or split_stream()
    return Fit(
        model(stream, weights, net, seed=seed),
        stream,
        method or Finetune(),
        train or TrainOptions(iterations=5, batch_size=4),
        optimizer=optimizer or OptimizerOptions(lr=0.01),
        evaluation=options.pop("evaluation", None) or EvaluateOptions(),
        seeds=Seeds(init=derive(seed, "init"), order=derive(seed, "order"), method=derive(seed, "method")),
        **options,
    )


def all_of(runs: Sequence[Fit]) -> None:
    """Train every run to its end."""
    for each in runs:
        for _ in each:
            pass
