"""The frozen body of a model: the first stages of its target, which give the same features in every task."""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.stages import section
from hypermnesia.weights.model import Model


class Cut(NamedTuple):
    """A target in two: they share its modules and their names."""

    body: nn.Sequential
    tail: nn.Sequential


def cut(model: Model) -> Cut | None:
    """Body and tail; None where no first stage, or every stage, is frozen, or where the target declares no stages."""
    try:
        names = tuple(section(model.target)._modules)
    except HypermnesiaError:
        return None
    length, frozen = 0, False
    for stage in names:
        own = [role for name, role in model.roles.items() if name.split(".")[0] == stage]
        if any(role not in ("body", "frozen") for role in own) or not _rests(model, stage):
            break
        if not own and drops_out(model.target.get_submodule(stage)):
            break
        length, frozen = length + 1, frozen or bool(own)
    if not frozen or length == len(names):
        return None
    return Cut(section(model.target, last=names[length - 1]), section(model.target, first=names[length]))


def resting(model: Model) -> Cut | None:
    """As `cut`, if the body rests by now: it trains with the first task."""
    return cut(model) if model.num_tasks > 1 or "body" not in model.roles.values() else None


def through_body(model: Model, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """What each task's forward pass of `x` (B, …) has in common: (features or x itself, further arguments of `Model.call`)."""
    found = resting(model)
    return (x, {}) if found is None else (found.body(x), {"part": found.tail})


def _rests(model: Model, stage: str) -> bool:
    """Whether all statistics in a stage rest, after the first task at the latest."""
    parts = model.target.get_submodule(stage).modules()
    return all(m in model.resting or not any(True for _ in m.buffers(recurse=False)) for m in parts)


def drops_out(module: nn.Module) -> bool:
    """Whether dropout works in it."""
    return any(isinstance(m, _DropoutNd) and m.p > 0 for m in module.modules())
