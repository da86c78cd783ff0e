"""Values as JSON and named tensors, and back: what a method remembers goes to disk and nothing is pickled."""

import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from hypermnesia.core import trees
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors

_PLAIN = (type(None), bool, int, str)
_MISREAD = (AttributeError, HypermnesiaError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)
"""What reading a form may run into that `pack` did not write."""


class PackingError(HypermnesiaError):
    """A value that cannot be packed, or a form that `pack` did not write."""


def pack(value: Any, tensors: Tensors, path: str) -> Any:
    """A JSON form of `value`; copies of its tensors go to `tensors` under dotted paths that begin with `path`.

    Covers None, numbers, text, tensors, CPU generators, tuples, lists, dicts and dataclasses of these. Anything else
    raises `PackingError`, so that nothing of a method's state is lost without a word.
    """
    if isinstance(value, Tensor):
        return _pack_tensor(value, tensors, path)
    if isinstance(value, torch.Generator):
        return {"generator": _put(value.get_state(), tensors, path)}
    if type(value) in _PLAIN:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) in (tuple, torch.Size, list):
        items = [pack(item, tensors, f"{path}.{i}") for i, item in enumerate(value)]
        return {"list" if type(value) is list else "tuple": items}
    if type(value) is dict and all(type(key) in _PLAIN for key in value):
        return {"dict": [[key, pack(item, tensors, f"{path}.{key}")] for key, item in value.items()]}
    if is_dataclass(value) and not isinstance(value, type) and _found_again(value):
        parts = {f.name: pack(getattr(value, f.name), tensors, f"{path}.{f.name}") for f in fields(value)}
        return {"type": f"{type(value).__module__}:{type(value).__qualname__}", "fields": parts}
    raise PackingError(
        f"{path}: a checkpoint cannot hold {type(value).__name__}. It holds None, numbers, text, tensors, CPU "
        "generators, and tuples, lists, dicts (with keys of text or numbers) and dataclasses of these, which are "
        "defined at the top of a module and whose fields are all given to their constructor"
    )


def unpack(form: Any, tensors: Mapping[str, Tensor], modules: frozenset[str], device: torch.device) -> Any:
    """The value that `pack` wrote, its tensors where they were: on the host or on `device`.

    Dataclasses are looked up by name, among those of this package and of the loaded modules in `modules`.
    Raises `PackingError` for anything that `pack` did not write.
    """
    try:
        return _unpack(form, tensors, modules, device)
    except PackingError:
        raise
    except _MISREAD as error:
        raise PackingError(f"holds what was never written like this: {error!r}") from error


def modules_of(*values: Any) -> frozenset[str]:
    """The modules of all dataclasses in these values."""
    return frozenset(
        type(part).__module__ for value in values for part in trees.walk(value) if is_dataclass(part)
    )


def _found_again(value: Any) -> bool:
    """Whether the dataclass can be looked up by its name, and made anew from its fields."""
    kind = type(value)
    named = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    return named is kind and all(f.init for f in fields(value))


def _put(tensor: Tensor, tensors: Tensors, path: str) -> str:
    """Store a tensor and return its name: the path, unless a key with a dot in it has led there before."""
    while path in tensors:
        path += "'"
    tensors[path] = tensor
    return path


def _pack_tensor(value: Tensor, tensors: Tensors, path: str) -> dict[str, Any]:
    """The order of the axes in memory is kept: a sum over another one may round differently."""
    strides = torch.empty_like(value, device="meta").stride()
    order = sorted((axis for axis, n in enumerate(value.shape) if n != 1), key=lambda axis: -strides[axis])
    for axis in (axis for axis, n in enumerate(value.shape) if n == 1):
        order.insert(axis, axis)  # it lies nowhere in particular
    copy = value.detach().permute(order).to("cpu", copy=True).contiguous()
    form: dict[str, Any] = {"tensor": _put(copy, tensors, path)}
    if order != sorted(order):
        form["order"] = order
    if value.device.type != "cpu":
        form["on_device"] = True
    return form


def _unpack(form: Any, tensors: Mapping[str, Tensor], modules: frozenset[str], device: torch.device) -> Any:
    def again(inner: Any) -> Any:
        return _unpack(inner, tensors, modules, device)

    if type(form) in (*_PLAIN, float):
        return form
    kind, content = next(iter(form.items()))
    if kind == "tensor":
        return _unpack_tensor(form, tensors[content], device)
    if kind == "generator":
        return torch.Generator(device="cpu").set_state(tensors[content])
    if kind == "float":
        return float(content)
    if kind in ("tuple", "list"):
        items = [again(item) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {key: again(item) for key, item in content}
    if kind == "type":
        return _dataclass(content, modules)(**{name: again(item) for name, item in form["fields"].items()})
    raise PackingError(f"holds an unknown kind of value: {kind!r}")


def _unpack_tensor(form: Mapping[str, Any], saved: Tensor, device: torch.device) -> Tensor:
    # A copy in memory that torch has aligned: elsewhere matrix products may round differently.
    value = saved.to(device if form.get("on_device") else "cpu", copy=True)
    if "order" not in form:
        return value
    order = form["order"]
    return value.permute([order.index(axis) for axis in range(value.dim())])


MOVED = {
    "hypermnesia.combined:CombinedState": "hypermnesia.methods.combine:CombinedState",
    "hypermnesia.fit:Position": "hypermnesia.training.position:Position",
    "hypermnesia.training.loop:Position": "hypermnesia.training.position:Position",
    "hypermnesia.generative:Dreams": "hypermnesia.methods.replay.generative:Generated",
    "hypermnesia.infer.fecam:ClassStatistics": "hypermnesia.evaluation.infer.fecam:ClassStatistics",
    "hypermnesia.infer.prototype:Prototypes": "hypermnesia.evaluation.infer.prototype:Prototypes",
    "hypermnesia.infer.tir:Finished": "hypermnesia.evaluation.infer.tir:Finished",
    "hypermnesia.memory:Memory": "hypermnesia.methods.replay.buffer:Memory",
    "hypermnesia.methods.anchor:AnchorState": "hypermnesia.methods.penalties.anchor:AnchorState",
    "hypermnesia.methods.ewc:EWCState": "hypermnesia.methods.penalties.ewc:EWCState",
    "hypermnesia.methods.si:SIState": "hypermnesia.methods.penalties.si:SIState",
    "hypermnesia.methods.drift:DriftState": "hypermnesia.methods.penalties.drift:DriftState",
    "hypermnesia.optim:OptimizerOptions": "hypermnesia.core.optim:OptimizerOptions",
    "hypermnesia.order:Order": "hypermnesia.training.batches:Order",
    "hypermnesia.records:Records": "hypermnesia.evaluation.records:Records",
    "hypermnesia.replay:ReplayState": "hypermnesia.methods.replay.rehearsal:ReplayState",
}
"""Where the types stand now that checkpoints of version 0.1 name by their old modules."""

NOW_PENALTIES = ("hypermnesia.methods.ewc:EWCState", "hypermnesia.methods.si:SIState")
"""States of what was a method in version 0.1 and is a penalty now."""


COMBINED = ("hypermnesia.combined:CombinedState", "hypermnesia.methods.combine:CombinedState")


def migrated(form: Any) -> Any:
    """The form of a whole run as it is written now, given what any version wrote."""
    if not (isinstance(form, dict) and isinstance(form.get("dict"), list)):
        return form  # no run: whoever reads it says so
    return {"dict": [_with_penalties(part) for part in form["dict"]]}


def _with_penalties(part: Any) -> Any:
    """A part of a run; version 0.1 had EWC and SI for methods, and so their states for the method's."""
    if not (isinstance(part, list) and len(part) == 2 and part[0] == "state"):
        return part
    own, penalties = part[1], []
    if isinstance(own, dict) and own.get("type") in COMBINED:
        own, penalties = own["fields"]["method"], own["fields"]["penalties"]["tuple"]
    if not isinstance(own, dict) or own.get("type") not in NOW_PENALTIES:
        return part
    joined = {"method": None, "penalties": {"tuple": [own, *penalties]}}
    return ["state", {"type": "hypermnesia.methods.combine:CombinedState", "fields": joined}]


def _dataclass(reference: str, modules: frozenset[str]) -> type:
    reference = MOVED.get(reference, reference)
    module, _, name = reference.partition(":")
    if not (module == "hypermnesia" or module.startswith("hypermnesia.") or module in modules):
        raise PackingError(f"names the type {reference}, which does not belong to this run")
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise PackingError(f"names the type {reference}, which does not exist here")
    return found
