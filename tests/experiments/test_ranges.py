"""Every range and choice that an option declares is held to where the option is made, and is shown by `list options`."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen

from hypermnesia.core.declared import describe, is_plain
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import StreamOptions
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.evaluation.infer import INFERENCES
from hypermnesia.experiments import config
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.penalties import JOINING
from hypermnesia.experiments.resolve import CheckpointOptions, resolve
from hypermnesia.methods.penalties.anchor import Anchor
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.replay.generative import GenerativeOptions
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.nets import NETS
from hypermnesia.nets.vae import VAEOptions
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights import GENERATORS
from hypermnesia.weights.compose import Add, MaskOptions
from hypermnesia.weights.options import WEIGHTS

PARTS = (
    Add,
    Anchor,
    CheckpointOptions,
    Drift,
    EvaluateOptions,
    GenerativeOptions,
    MaskOptions,
    MemoryOptions,
)
KINDS = {
    *PARTS,
    *(OptimizerOptions, StreamOptions, TrainOptions, VAEOptions),
    *(approach.method_class() for approach in APPROACHES.values()),
    *NETS.values(),
    *GENERATORS.values(),
    *WEIGHTS.values(),
    *INFERENCES.values(),
    *JOINING.values(),
}


def outside(hint: Any) -> Iterator[object]:
    """Values beyond each end of the ranges in a type, inside of tuples too, and no choice of it."""
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        for bound in args[1:]:
            match bound:
                case Ge(limit):
                    yield limit - 1
                case Le(limit):
                    yield limit + 1
                case Gt(limit) | Lt(limit):
                    yield limit
                case MinLen(length):
                    yield ()
                    assert length == 1
        yield from outside(args[0])
    elif get_origin(hint) is Literal:
        yield "no such choice"
    elif get_origin(hint) is tuple:
        for item in outside(args[0]):
            yield (item,) * (1 if args[1] is Ellipsis else len(args))
    else:
        for arg in args:
            yield from outside(arg)


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__))
def test_what_lies_outside_is_refused(kind: Any):
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if not (field.init and is_plain(hints[field.name])):
            continue
        for value in outside(hints[field.name]):
            with pytest.raises(HypermnesiaError, match=rf"{field.name}[ =]"):
                kind(**{field.name: value})


def test_ranges_are_shown():
    shown = config.keys(resolve("split-digits", "hnet").sections)
    assert shown["drift.beta"].type == "number >= 0"
    assert shown["weights.generator.dropout"].type == "number >= 0 and < 1"
    assert shown["train.threads"].type == "integer >= 1 and <= 1024 | auto | none"
    assert describe(tuple[Annotated[int, Ge(1)], ...]) == "[integer >= 1, ...]"
