"""Our streams as benchmarks of Avalanche: the same tasks, samples and class order for its strategies."""
# pyright: reportMissingImports=false

from collections.abc import Sequence
from typing import cast

import torch
from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils import (
    AvalancheDataset,
    ConstantSequence,
    TaskLabels,
    as_classification_dataset,
)
from avalanche.benchmarks.utils.transform_groups import TransformGroups
from torch import Tensor
from torch.utils.data import Dataset

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data import Part, Preprocess, Stream


def benchmark(stream: Stream, task_labels: bool = False, seed: int = 0) -> CLScenario:
    """The stream for Avalanche: `train_stream` with an experience for each task, and `test_stream` for each test part.

    Samples (x, y, label): x float32 as networks take it, y the global class id, label the task's number if `task_labels`, else
    0. The transform group `train` augments where the stream does, drawn by `seed`; `eval` does not. Raises
    `HypermnesiaError` for what is no stream of classes.
    """
    if not isinstance(stream, Stream):
        raise HypermnesiaError(
            f"benchmark: expected a Stream, got {type(stream).__name__}: hm.load(NAME) or hm.split(data, tasks=5) makes one"
        )
    if stream.target is not None:
        raise HypermnesiaError(f"benchmark: {stream.name} tells numbers, and these benchmarks are of classes")
    rng = generator(seed, "order")
    train = _datasets([task.train for task in stream.tasks], stream.preprocess, rng, task_labels)
    test = [data.eval() for data in _datasets(stream.tests, stream.preprocess, rng, task_labels)]
    found = benchmark_from_datasets(train=train, test=test)
    return cast(CLScenario, with_classes_timeline(with_task_labels(found)))


def _datasets(
    parts: Sequence[Part], preprocess: Preprocess, rng: torch.Generator, task_labels: bool
) -> list[AvalancheDataset]:
    def augmented(raw: Tensor) -> Tensor:
        return preprocess(raw[None], rng)[0]

    def plain(raw: Tensor) -> Tensor:
        return preprocess(raw[None])[0]

    found = []
    for index, part in enumerate(parts):
        groups = TransformGroups({"train": augmented, "eval": plain})
        labels = TaskLabels(ConstantSequence(index if task_labels else 0, len(part)))
        data = as_classification_dataset(_Samples(part), groups)
        found.append(data.update_data_attribute(name="targets_task_labels", new_value=labels))
    return found


class _Samples(Dataset[tuple[Tensor, int]]):
    """A part, sample by sample: raw tensor, global class id."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.targets = part.y.tolist()

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raw, _ = self.part.batch(torch.tensor([index]))
        return raw[0], self.targets[index]
