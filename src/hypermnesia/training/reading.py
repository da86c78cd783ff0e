"""The codes that generators read from a task's samples (`generator.condition`)."""

from collections.abc import Iterable

import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Task
from hypermnesia.data.sources.stratify import first
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.model import Model


def check(method: Method, models: Iterable[Model]) -> None:
    """Raise `HypermnesiaError` where an encoder would stay as it was drawn."""
    for model in models:
        reader = None if model.generator is None else model.generator.reader
        if reader is not None and reader.trunk is not None and not method.trains_reader:
            raise HypermnesiaError(
                "generator.condition=set: this method does not train what reads the tasks, so their codes would be random: "
                "take the approach meta-hnet, or generator.condition=prototypes"
            )


@torch.no_grad()
def read(learner: Learner, task: Task) -> None:
    """Put the code of `task` into every generator that reads it from samples, as what reads is now.

    From the first `generator.support` training samples of each class, not augmented.
    """
    for model in learner.models.values():
        if model.generator is None or model.generator.reader is None or model.head is None:
            continue
        raw, y = task.train.batch(first(task.train.y, model.generator.support))
        x = learner.preprocess(raw, None)
        code = model.generator.reader(x, model.head.targets(y, task.index))
        model.generator.embeddings[task.index].copy_(code)
