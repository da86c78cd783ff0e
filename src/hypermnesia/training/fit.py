"""A whole run in one call."""

import warnings
from collections.abc import Mapping
from typing import Any

from hypermnesia.data import Stream
from hypermnesia.evaluation.records import Records
from hypermnesia.methods.base import Method
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.model import Model


def fit(
    model: Model | Mapping[str, Model], stream: Stream, method: Method, train: TrainOptions, **options: Any
) -> Records:
    """Train to the end and return what was measured; `options` are those of `Fit`.

    Warns when nothing holds what a generator wrote for earlier tasks: such weights forget.
    """
    run = Fit(model, stream, method, train, **options)
    written = run.learner.model.generator is not None
    if written and len(stream.tasks) > 1 and "main" not in method.held_models:
        warnings.warn(
            f"these weights are written by a generator, and {type(method).__name__} alone lets it forget earlier "
            "tasks: add a drift penalty, combine(method, Drift(beta=0.01))",
            stacklevel=2,
        )
    for _ in run:
        pass
    return run.records
