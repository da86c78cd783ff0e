"""Run state to disk and back, bit for bit: tensors in safetensors, the rest in JSON, nothing pickled.

A checkpoint is two files, `NNNNNNNNNN-TTTTT.safetensors` and `.json` (steps done, tasks finished), each written to a
temporary name, synced and renamed, the JSON last; it holds the SHA-256 of both. The last two are kept, so a damaged
newest one costs the steps since the one before, and never the run.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from hypermnesia.core import optim
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import entries, make_directory, replace_file, with_suffix
from hypermnesia.core.tensors import Tensors
from hypermnesia.training.loop import Fit
from hypermnesia.training.serialise import PackingError, migrated, modules_of, pack, unpack

FORMAT = 1
KEPT = 2
_STEM = re.compile(r"\.?(\d{10}-\d{5})\.(json|safetensors)(\..*part)?")


class CheckpointError(HypermnesiaError):
    """A checkpoint that cannot be used."""


class Damaged(CheckpointError):
    """A checkpoint that is not what was written; the one before it may still be sound."""


# ------------------------------------------------------------------------------------------------- run <-> values


def capture(run: Fit) -> tuple[Tensors, Any]:
    """All that `run` needs to go on from exactly here: (tensors, JSON)."""
    tensors: Tensors = {}
    optimizers = {}
    for name, optimizer in run.optimizers.items():
        by_name = {n: p for g in optimizer.param_groups for n, p in zip(g["names"], g["params"], strict=True)}
        state = {n: dict(optimizer.state[p]) for n, p in by_name.items() if p in optimizer.state}
        optimizers[name] = {"options": run.optimizer_of[name], "names": list(by_name), "state": state}
    values = {
        "device": run.learner.device.type,
        "threads": torch.get_num_threads(),
        "models": {
            name: {
                key: value.contiguous() for key, value in model.stored().items()
            }  # readable without the form
            for name, model in run.learner.models.items()
        },
        "tasks": {name: model.num_tasks for name, model in run.learner.models.items()},
        "optimizers": optimizers,
        "state": run.learner.state,
        "inference": run.learner.inference_state,
        "rngs": run.rngs,
        "noise": run.current_noise(),
        "order": run.order,
        "selection": run.selection,
        "position": run.position,
        "records": run.records,
    }
    return tensors, pack(values, tensors, "run")


def restore(run: Fit, tensors: Tensors, form: Any, exact: bool = True) -> None:
    """Bring a fresh `run` of the same configuration to the captured point.

    Not `exact`: a run that was made on a GPU may come to the CPU, where it answers, but for rounding, as it did.
    Raises `CheckpointError` if the values belong to another run; `run` is then of no further use.
    """
    learner = run.learner
    modules = modules_of(run.method, learner.state, run.inference, learner.inference_state)
    try:
        values = unpack(migrated(form), tensors, modules, learner.device)
        if values["device"] != learner.device.type and (exact or learner.device.type != "cpu"):
            raise CheckpointError(
                f"the run was made on {values['device']}, and only there it goes on exactly: "
                f"resume it with --device {values['device']}"
            )
        _restore_models(run, values)
        _restore_optimizers(run, values["optimizers"])
        learner.state, learner.inference_state = values["state"], values["inference"]
        run.position, run.records = values["position"], values["records"]
        run.rngs, run.noise = values["rngs"], values["noise"]
        run.threads = run.train.fixed_threads or values["threads"]
        run.order, run.selection = values["order"], values.get("selection")
        if run.order is not None:
            run.order.rng = run.rngs["order"]  # one generator, not a copy of it
        learner.task = run.position.task if run.position.started else run.position.task - 1
    except PackingError as error:
        raise CheckpointError(f"a checkpoint {error}") from error
    except (AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"a checkpoint does not belong to this run: {error!r}") from error


def _restore_models(run: Fit, values: dict[str, Any]) -> None:
    for name, model in run.learner.models.items():
        while model.num_tasks < values["tasks"][name]:
            run.grow(model)  # only the rows' shapes: the values follow
        _copy(model.stored(), values["models"][name], f"model {name}")
        model.train()
        model.trainable()


def _copy(own: Tensors, saved: Tensors, what: str) -> None:
    if set(own) != set(saved):
        odd = ", ".join(sorted(set(own) ^ set(saved))[:5])
        raise CheckpointError(f"the checkpoint does not fit this {what}: {odd}")
    with torch.no_grad():
        for name, value in own.items():
            if value.shape != saved[name].shape:
                shapes = f"{tuple(saved[name].shape)} on disk, {tuple(value.shape)} here"
                raise CheckpointError(f"the checkpoint does not fit this {what}: {name} is {shapes}")
            value.copy_(saved[name])


def _restore_optimizers(run: Fit, optimizers: dict[str, Any]) -> None:
    for name, saved in optimizers.items():
        parameters = dict(run.learner.models[name].named_parameters())
        optimizer = optim.build(saved["options"], {n: parameters[n] for n in saved["names"]})
        for key, state in saved["state"].items():
            optimizer.state[parameters[key]] = _laid_out_as(parameters[key], state)
        run.optimizers[name], run.optimizer_of[name] = optimizer, saved["options"]


def _laid_out_as(parameter: Tensor, state: dict[str, Any]) -> dict[str, Any]:
    """Fused optimizers read their state as if it lay in memory like the parameter."""
    alike = {
        key for key, value in state.items() if isinstance(value, Tensor) and value.shape == parameter.shape
    }
    return {key: optim.laid_out_as(parameter, v) if key in alike else v for key, v in state.items()}


# ------------------------------------------------------------------------------------------------------ the files


def save(run: Fit, directory: Path, extra: dict[str, Any] | None = None, keep: bool = False) -> Path:
    """Write a checkpoint of `run` and drop all but the last two, unless `keep`. `extra` (JSON) comes back from `load`.

    Raises `RunFailed` where a model holds a number that is not finite: a checkpoint is always a good one.
    """
    run.refuse_broken()
    tensors, form = capture(run)
    return write(directory, run.records.steps, run.position.task, tensors, form, extra or {}, keep)


def write(
    directory: Path,
    steps: int,
    task: int,
    tensors: Tensors,
    form: Any,
    extra: dict[str, Any],
    keep: bool = False,
) -> Path:
    """Write the two files of a checkpoint, named after the run's step and task so that later ones sort last."""
    make_directory(directory)
    stem = f"{steps:010d}-{task:05d}"
    blob = to_safetensors(tensors)
    body = {"format": FORMAT, "tensors_sha256": _sha256(blob), "form": form, "extra": extra}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    replace_file(directory / f"{stem}.safetensors", blob)
    path = replace_file(directory / f"{stem}.json", _envelope(text))
    if not keep:
        _tidy(directory, stem)
    return path


def _envelope(body: str) -> bytes:
    """The JSON file around its content."""
    return json.dumps({"sha256": _sha256(body.encode()), "body": body}).encode()


def _tidy(directory: Path, newest: str) -> None:
    """Leave `newest` and the one before: what sorts after it belongs to a course that the run has left.

    Also takes away what writes that were cut short have left.
    """
    before = [path.stem for path in _checkpoints(directory) if path.stem < newest]
    _drop(directory, lambda stem: stem == newest or stem in before[-(KEPT - 1) :])


def drop(directory: Path, before: str = "", after: str | None = None) -> None:
    """Drop the checkpoints named before and after these names, and what writes that were cut short have left."""
    if directory.exists():
        _drop(directory, lambda stem: before <= stem and (after is None or stem <= after))


def _drop(directory: Path, kept: Callable[[str], bool]) -> None:
    for path in entries(directory):  # ".json" before ".safetensors": no JSON file is left without its tensors
        name = _STEM.fullmatch(path.name)
        if name and (name[3] or not kept(name[1])):
            path.unlink()


def _checkpoints(directory: Path) -> list[Path]:
    """The JSON files of all checkpoints, oldest first."""
    return [path for path in with_suffix(directory, ".json") if _STEM.fullmatch(path.name)]


def read(path: Path) -> tuple[Tensors, Any, dict[str, Any]]:
    """(tensors, form, extra) of one checkpoint, given its JSON file.

    Raises `Damaged` if either file is not what was written, `CheckpointError` if another version wrote it.
    """
    with _told(path):
        body = _body(path)
        blob = path.with_suffix(".safetensors").read_bytes()
        if _sha256(blob) != body["tensors_sha256"]:
            raise Damaged(f"{path.stem}.safetensors is damaged: its checksum does not match")
        return read_safetensors(blob), body["form"], dict(body["extra"])


def extras(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The JSON files of the checkpoints that can be read, the newest first, and what was saved beside the run's state."""
    for path in reversed(_checkpoints(directory)):
        with contextlib.suppress(CheckpointError), _told(path):
            yield path, dict(_body(path)["extra"])


def _body(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    text = json.loads(content)["body"]
    if content != _envelope(text):  # every byte counts, also where JSON would read another one alike
        raise Damaged(f"{path.name} is damaged: its checksum does not match")
    body = json.loads(text)
    if body["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {body['format']!r}; this version reads {FORMAT}")
    return body


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever reading a file may run into that is not what was written is `Damaged`."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        SafetensorError,
    ) as error:
        raise Damaged(f"{path.name} cannot be read: {error}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load(
    run: Fit,
    directory: Path,
    report: Callable[[str], None],
    check: Callable[[Path, dict[str, Any]], None] = lambda path, extra: None,
    newest: str | None = None,
    exact: bool = True,
) -> dict[str, Any] | None:
    """Restore the newest sound checkpoint of `directory` into `run`, of those up to the name `newest`; None if there is
    none at all.

    Damaged ones are told to `report` and passed over. `check` may raise for one that must not be used. Returns the `extra`
    that was saved with it. `exact`: as for `restore`.
    """
    found = [path for path in _checkpoints(directory) if newest is None or path.stem <= newest]
    for path in reversed(found):
        try:
            tensors, form, extra = read(path)
        except Damaged as error:
            report(f"{error}; trying the one before")
            continue
        check(path, extra)
        restore(run, tensors, form, exact)
        return extra
    if found:
        report("no sound checkpoint is left: starting from the beginning")
    return None
