"""Run state to disk and back, bit for bit: tensors in safetensors, the rest in JSON, nothing pickled.

A checkpoint is two files, `NNNNNNNNNN.safetensors` and `NNNNNNNNNN.json`, each written to a temporary name, synced
and renamed, the JSON last; it holds the SHA-256 of both. The last two are kept, so a damaged newest one costs the
steps since the one before, and never the run.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from hypermnesia import optim
from hypermnesia.errors import HypermnesiaError
from hypermnesia.fit import Fit
from hypermnesia.tensors import Tensors

FORMAT = 1
KEPT = 2


class CheckpointError(HypermnesiaError):
    """A checkpoint that cannot be used."""


# ------------------------------------------------------------------------------------------ values <-> JSON + tensors


def pack(value: Any, tensors: Tensors, path: str = "") -> Any:
    """A JSON form of `value`; its tensors go to `tensors` under dotted paths.

    Covers None, numbers, strings, tensors, generators, tuples, lists, dicts and dataclasses of these; anything else
    is an error, so that nothing of a method's state is lost without a word.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, torch.Generator):
        tensors[path] = value.get_state()
        return {"generator": path}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, tuple | list):
        items = [pack(item, tensors, f"{path}.{i}") for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, dict):
        return {"dict": [[key, pack(item, tensors, f"{path}.{key}")] for key, item in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: pack(getattr(value, f.name), tensors, f"{path}.{f.name}") for f in fields(value) if f.init}
        return {"type": f"{type(value).__module__}:{type(value).__qualname__}", "fields": parts}
    raise HypermnesiaError(f"{path or 'value'}: a checkpoint cannot hold a {type(value).__name__}")


def unpack(form: Any, tensors: Tensors, modules: frozenset[str], device: torch.device) -> Any:
    """The value that `pack` wrote. Dataclasses are found by name, and only in this package and in `modules`."""

    def again(inner: Any) -> Any:
        return unpack(inner, tensors, modules, device)

    if not isinstance(form, dict):
        return form
    kind, content = next(iter(form.items()))
    if kind == "tensor":
        return tensors[content].to(device)
    if kind == "generator":
        rng = torch.Generator(device="cpu")
        rng.set_state(tensors[content])
        return rng
    if kind == "float":
        return float(content)
    if kind in ("tuple", "list"):
        items = [again(item) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {key: again(item) for key, item in content}
    if kind == "type":
        return _dataclass(content, modules)(**{name: again(item) for name, item in form["fields"].items()})
    raise CheckpointError(f"a checkpoint holds an unknown kind of value: {kind!r}")


def _dataclass(reference: str, modules: frozenset[str]) -> type:
    module, _, name = reference.partition(":")
    if not (module.split(".")[0] == "hypermnesia" or module in modules):
        raise CheckpointError(f"a checkpoint names the type {reference}, which does not belong to this run")
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise CheckpointError(f"a checkpoint names the type {reference}, which does not exist here")
    return found


# ------------------------------------------------------------------------------------------------- run <-> values


def capture(run: Fit) -> tuple[Tensors, dict]:
    """All that `run` needs to go on from exactly here: (tensors, JSON)."""
    tensors: Tensors = {}
    optimizers = {}
    for name, optimizer in run.optimizers.items():
        by_name = {n: p for group in optimizer.param_groups for n, p in zip(group["names"], group["params"], strict=True)}
        state = {n: dict(optimizer.state[p]) for n, p in by_name.items() if p in optimizer.state}
        optimizers[name] = {"options": run.optimizer_of[name], "names": list(by_name), "state": state}
    values = {
        "models": {name: model.stored() for name, model in run.learner.models.items()},
        "tasks": {name: model.num_tasks for name, model in run.learner.models.items()},
        "optimizers": optimizers,
        "state": run.state,
        "inference": run.inference_state,
        "rngs": run.rngs,
        "noise": torch.get_rng_state(),
        "order": run.order,
        "position": run.position,
        "records": run.records,
    }
    return tensors, pack(values, tensors, "run")


def restore(run: Fit, tensors: Tensors, form: dict) -> None:
    """Bring a fresh `run` of the same configuration to the captured point."""
    modules = frozenset({type(run.method).__module__, type(run.inference).__module__})
    learner = run.learner
    values = unpack(form, tensors, modules, learner.device)
    for name, model in learner.models.items():
        while model.num_tasks < values["tasks"][name]:
            model.begin_task(torch.Generator().manual_seed(0))  # only the rows' shapes: the values follow
        model.to(learner.device)
        _load(model.stored(), values["models"][name], f"model {name}")
        model.train()
        model.trainable()
    run.position, run.records, run.state = values["position"], values["records"], values["state"]
    run.inference_state, run.rngs, run.noise = values["inference"], values["rngs"], values["noise"].cpu()
    run.order = values["order"]
    if run.order is not None:
        run.order.rng = run.rngs["order"]  # one generator, not a copy of it
        run.order.permutation = run.order.permutation.cpu()
    learner.task = run.position.task if run.position.started else run.position.task - 1
    for name, saved in values["optimizers"].items():
        parameters = dict(learner.models[name].named_parameters())
        optimizer = optim.build(saved["options"], {n: parameters[n] for n in saved["names"]})
        for key, state in saved["state"].items():
            optimizer.state[parameters[key]] = state
        run.optimizers[name], run.optimizer_of[name] = optimizer, saved["options"]


def _load(own: Tensors, saved: Tensors, what: str) -> None:
    if set(own) != set(saved):
        odd = ", ".join(sorted(set(own) ^ set(saved))[:5])
        raise CheckpointError(f"the checkpoint does not fit this {what}: {odd}")
    with torch.no_grad():
        for name, value in own.items():
            if value.shape != saved[name].shape:
                shapes = f"{tuple(saved[name].shape)} on disk, {tuple(value.shape)} here"
                raise CheckpointError(f"the checkpoint does not fit this {what}: {name} is {shapes}")
            value.copy_(saved[name])


# ------------------------------------------------------------------------------------------------------ the files


def save(run: Fit, directory: Path, extra: dict | None = None) -> Path:
    """Write a checkpoint of `run` and drop all but the last two. `extra` (JSON) comes back from `load`."""
    tensors, form = capture(run)
    return write(directory, run.records.steps, run.position.task, tensors, form, extra or {})


def write(directory: Path, steps: int, task: int, tensors: Tensors, form: Any, extra: dict) -> Path:
    """Write the two files of a checkpoint, named after the run's step and task so that later ones sort last."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{steps:010d}-{task:05d}"
    blob = to_safetensors(tensors)
    body = {"format": FORMAT, "tensors_sha256": hashlib.sha256(blob).hexdigest(), "form": form, "extra": extra}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    envelope = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text})
    replace_file(directory / f"{stem}.safetensors", blob)
    path = replace_file(directory / f"{stem}.json", envelope.encode())
    for old in sorted(directory.glob("*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file so that it is seen whole or not at all, even across a power cut."""
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def read(path: Path) -> tuple[Tensors, Any, dict]:
    """(tensors, form, extra) of one checkpoint, given its JSON file. Raises `CheckpointError` if either is damaged."""
    try:
        envelope = json.loads(path.read_bytes())
        text = envelope["body"]
        if hashlib.sha256(text.encode()).hexdigest() != envelope["sha256"]:
            raise CheckpointError(f"{path.name} is damaged: its checksum does not match")
        body = json.loads(text)
        blob = path.with_suffix(".safetensors").read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if body.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} has format {body.get('format')!r}; this version reads {FORMAT}")
    if hashlib.sha256(blob).hexdigest() != body["tensors_sha256"]:
        raise CheckpointError(f"{path.stem}.safetensors is damaged: its checksum does not match")
    try:
        return read_safetensors(blob), body["form"], body["extra"]
    except SafetensorError as error:
        raise CheckpointError(f"{path.stem}.safetensors cannot be read: {error}") from error


def load(run: Fit, directory: Path, report: Callable[[str], None]) -> dict | None:
    """Restore the newest sound checkpoint of `directory` into `run`; None if there is none at all.

    Damaged ones are told to `report` and passed over. Returns the `extra` that was saved with it.
    """
    candidates = sorted(directory.glob("*.json"), reverse=True)
    for path in candidates:
        try:
            tensors, form, extra = read(path)
        except CheckpointError as error:
            report(f"{error}; trying the one before")
            continue
        restore(run, tensors, form)
        return extra
    if candidates:
        report("no sound checkpoint is left: starting from the beginning")
    return None
