"""A run that was put together in Python, on disk and back: all that it has learned but the code of its network."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.files import make_directory, temporary_beside, write_synced
from hypermnesia.data import Stream
from hypermnesia.data.outline import from_outline, outline
from hypermnesia.evaluation.schema import read_object
from hypermnesia.methods.base import Method
from hypermnesia.runs.directory import Unusable, reporter
from hypermnesia.training import checkpoint
from hypermnesia.training.loop import Fit
from hypermnesia.training.serialise import PackingError, pack, unpack
from hypermnesia.weights.build import model_over
from hypermnesia.weights.model import Model

FILE = "fit.json"
"""What says that a directory holds such a run."""
FORMAT = 1
Network = Model | nn.Module | Callable[[int], nn.Module]
"""The network's code: a model, a module with as many outputs as the head needs, or a function outputs → module."""


def save(run: Fit, directory: Path, figures: Mapping[str, Any]) -> None:
    """Write `run` to `directory`, which must not exist: a checkpoint, the outline of its stream, its options and figures.

    Raises `HypermnesiaError` where something cannot be written without pickling it.
    """
    model, tensors = run.learner.model, {}
    options = {
        "method": run.method,
        "inference": run.inference,
        "train": run.train,
        "optimizer": run.optimizer_options,
        "evaluation": run.evaluation,
        "weights": model.weights,
        "head": model.head,
    }
    about: dict[str, Any] = {key: pack(value, tensors, key) for key, value in options.items()}
    if tensors:
        raise HypermnesiaError(f"options that hold tensors cannot be saved: {', '.join(tensors)}")
    about |= {"figures": dict(figures), "format": FORMAT, "sealed": run.sealed, "stream": outline(run.stream)}
    if run.tested_on is not run.stream:
        about["tested_on"] = outline(run.tested_on)
    if directory.exists():
        raise Unusable(f"{directory} exists already: save to another directory, or remove it")
    fresh = temporary_beside(directory)
    try:
        make_directory(directory.parent)
        fresh.mkdir()
        checkpoint.save(run, fresh / "checkpoint")
        write_synced(fresh / FILE, json.dumps(about).encode())
        fresh.rename(directory)
    except OSError as error:
        raise HypermnesiaError(f"cannot write to {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # of a save that failed


def restored(
    directory: Path, net: Network | None, method: Method | None = None, device: str = "cpu"
) -> tuple[Fit, dict[str, Any]]:
    """The run that `save` wrote, its stream without samples, and the figures.

    `net`: the code of its network, whose values are on disk. `method`: the run's own, where its class is not of this
    package. Raises `HypermnesiaError` for a network that is missing or another one.
    """
    if net is None:
        raise HypermnesiaError(
            f"{directory} holds what a network in Python has learned, and no code: pass the network as well, "
            "open_run(DIR, net), as you gave it to model_for or fit"
        )
    about = _read(directory)
    stream = from_outline(about["stream"])
    tested_on = from_outline(about["tested_on"]) if "tested_on" in about else None
    place = torch.device(device)
    modules = frozenset() if method is None else frozenset({type(method).__module__})

    def option(name: str) -> Any:
        try:
            return unpack(about[name], {}, modules, place)
        except (PackingError, KeyError) as error:
            hint = "; pass your own method: open_run(DIR, net, method)" if name == "method" else ""
            raise HypermnesiaError(f"{directory}/{FILE}: {name} {error}{hint}") from error

    own = method or option("method")
    model = net if isinstance(net, Model) else _built(net, option("head"), option("weights"), stream)
    run = Fit(
        {"main": model} | own.extra_models(stream, 0),
        stream,
        own,
        option("train"),
        option("optimizer"),
        option("evaluation"),
        option("inference"),
        tested_on=tested_on,
        sealed=about["sealed"] is True,
        device=device,
    )
    if checkpoint.load(run, directory / "checkpoint", reporter(directory)) is None:
        raise Unusable(f"{directory} has no sound checkpoint")
    return run, about["figures"]


def _built(net: nn.Module | Callable[[int], nn.Module], head: Any, weights: Any, stream: Stream) -> Model:
    if weights is None:
        raise HypermnesiaError("this model was put together by hand: pass a Model made in the same way")
    module = net if isinstance(net, nn.Module) else net(head.width)
    return model_over(stream, module, head, weights, 0)


def _read(directory: Path) -> Mapping[str, Any]:
    about = read_object(directory / FILE)
    if about.get("format") != FORMAT:
        raise unknown(f"format in {directory / FILE}", str(about.get("format")), [str(FORMAT)])
    return about
