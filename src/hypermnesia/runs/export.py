"""A task's network by itself: plain weights and a program, for use without this package."""

import copy
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import replace_file
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, TextForm
from hypermnesia.methods.learner import Learner
from hypermnesia.nets.stages import classifier
from hypermnesia.runs.directory import saved_config
from hypermnesia.runs.execute import restored
from hypermnesia.weights import peft
from hypermnesia.weights.model import Model, evaluating, logits_of

_CHECKED = 16  # samples that the program is compared with the learner on


@dataclass(frozen=True)
class Exported:
    """The files of one export."""

    program: Path
    """A `torch.export` program (.pt2), for any B ≥ 1. Of a task's network: float32 (B, C, H, W) or (B, F), preprocessed,
    or int64 tokens (B, L) → logits (B, outputs)."""
    description: Path
    """JSON: class names in the order of the outputs, preprocessing, input shape."""
    weights: Path | None = None
    """Of a task's network, a `state_dict` of the target in safetensors, under the network's own names."""
    onnx: Path | None = None
    """The program as an ONNX file, if it was asked for."""

    def __iter__(self) -> Iterator[Path]:
        return (
            path for path in (self.weights, self.program, self.onnx, self.description) if path is not None
        )


class TaskNetwork(nn.Module):
    """The target network with the weights of one task, and of its outputs those that the task uses."""

    def __init__(self, net: nn.Module, columns: slice) -> None:
        super().__init__()
        self.net, self.start, self.stop = net, columns.start, columns.stop

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.net(x))[:, self.start : self.stop]


def export_task(directory: Path, task: int, out: Path | None = None, onnx: bool = False) -> Exported:
    """Write the network of `task` (from 0) of the run in `directory` (DIR/seed-K) to the directory `out`.

    `out`: by default `directory`/export. `onnx`: an ONNX file as well. The program is compared with the learner's own
    outputs before anything is written. Raises `HypermnesiaError` for a task that was not learned, for a method that does
    not answer with its network's outputs (iCaRL), and for a network that `torch.export` cannot trace.
    """
    run = restored(directory)
    learner, stream = run.learner, run.tested_on
    check_task(learner, stream, task)
    vocabulary = saved_config(directory).sections["stream"].vocabulary or TextForm.vocabulary
    weights_of = 0 if is_joint(learner, stream) else task
    network, state = task_network(learner.model, weights_of)
    example = learner.preprocess(samples(stream), None)
    with torch.no_grad(), evaluating(learner.model):
        expected = run.method.scores(learner.state, learner, example, weights_of)
        if expected is None:
            expected = learner.model(example, weights_of)
        else:
            own = run.method.network(learner.state, learner)
            if own is None:
                raise HypermnesiaError(
                    f"{directory}: this method answers with scores of its own, not with its network's outputs; "
                    "use `hypermnesia predict` instead"
                )
            network, state = own.eval(), own.state_dict()
        program = traced(network, example)
        found = program.module()(example)
    scale = float(expected[expected.isfinite()].abs().max().clamp(min=1))
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-5, atol=1e-6 * scale):
        raise HypermnesiaError(
            f"{directory}: the exported program differs from the learner by up to "
            f"{float((found - expected).abs().max()):.3g}; nothing was written"
        )
    about = description(learner, stream, task, weights_of, vocabulary)
    weights = to_safetensors({name: value.contiguous() for name, value in state.items()})
    return write(out or directory / "export", f"task-{task + 1}", program, about, weights, onnx)


def export_adapter(directory: Path, task: int, out: Path | None = None) -> Path:
    """Write the adapter of `task` (from 0) of the run in `directory` (DIR/seed-K) in PEFT's format, with the task's classifier
    as `classifier.safetensors` and what a user has to know as `task.json`; returns the directory, by default
    `directory`/adapter-TASK.

    Raises `HypermnesiaError` for a task that was not learned, and where a task's network is more than the given one with
    additions.
    """
    run = restored(directory)
    learner, stream = run.learner, run.tested_on
    check_task(learner, stream, task)
    weights_of = 0 if is_joint(learner, stream) else task
    adapter = peft.adapter_of(learner.model, weights_of)
    last = f"{classifier(learner.model.target)}."
    head = {
        n.removeprefix(last): v for n, v in learner.model.task_state(weights_of).items() if n.startswith(last)
    }
    about = description(learner, stream, task, weights_of, TextForm.vocabulary)
    out = out or directory / f"adapter-{task + 1}"
    contents = {
        peft.TENSORS: to_safetensors(adapter.tensors),
        "classifier.safetensors": to_safetensors(head),
        "task.json": _json(about),
        peft.CONFIG: _json(adapter.config),
    }
    _put(out, contents)
    return out


def _put(out: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files to the directory `out`, each whole or not at all."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [replace_file(out / name, content) for name, content in contents.items()]
    except OSError as error:
        raise HypermnesiaError(f"cannot write to {out}: {error.strerror or error}") from error


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def is_joint(learner: Learner, stream: Stream) -> bool:
    """Whether all tasks of `stream` were learned as one."""
    return len(learner.classes) == 1 < len(stream.tasks)


def check_task(learner: Learner, stream: Stream, task: int) -> None:
    """Raise unless the learner has learned `task` (from 0) of the stream."""
    learned = len(stream.tasks) if is_joint(learner, stream) else learner.task + 1
    if not 0 <= task < learned:
        known = f"1 to {learned}" if learned > 1 else "1"
        raise HypermnesiaError(f"there is no task {task + 1}: the last checkpoint has learned task {known}")


def task_network(model: Model, task: int) -> tuple[TaskNetwork, Tensors]:
    """(the network of `task` in evaluation mode, its state dict under the target's own names), both copies."""
    net = copy.deepcopy(model.target)
    kept = net.state_dict().keys()  # constants that a network makes for itself are none of its state
    state = {name: value for name, value in model.task_state(task).items() if name in kept}
    net.load_state_dict(state, strict=True, assign=True)
    columns = model.head.columns(task) if model.head is not None else slice(None)
    return TaskNetwork(net, columns).requires_grad_(False).eval(), state


def samples(stream: Stream) -> Tensor:
    """Random images, or random tokens of which every id is small enough for any vocabulary but one of two."""
    rng, shape = torch.Generator().manual_seed(0), (_CHECKED, *stream.shape)
    if stream.kind == "texts":
        return torch.randint(2, shape, generator=rng)
    if stream.kind == "vectors":
        return torch.randn(shape, generator=rng)
    return torch.randint(256, shape, generator=rng, dtype=torch.uint8)


def traced(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    try:
        return torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # tracing runs the network's own code, which may be anybody's
        raise HypermnesiaError(
            f"torch.export cannot trace this network: {type(error).__name__}: {str(error)[:500]}"
        ) from error


def description(
    learner: Learner, stream: Stream, task: int, weights_of: int, vocabulary: int
) -> dict[str, Any]:
    """What a user of the exported network has to know. `vocabulary`: of texts, the number of token ids."""
    names, head = stream.class_names, learner.model.head
    outputs = head.outputs(weights_of) if head is not None else stream.tasks[task].classes
    preprocess, shape = learner.preprocess, list(learner.shape)
    images: dict[str, Any] = {
        "shape": shape,
        "dtype": "float32",
        "preprocessing": "(pixel / 255 − mean) / std, per channel",
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
    }
    vectors = images | {"preprocessing": "(number − mean) / std, per feature"}
    texts = {
        "shape": shape,
        "dtype": "int64",
        "preprocessing": "token ids of hypermnesia.data.sources.text.tokenise: hashed words, cut or padded with 0",
        "vocabulary": vocabulary,
    }
    return {
        "task": task + 1,
        "name": stream.tasks[task].name,
        "outputs": [names[c] if c >= 0 else None for c in outputs],
        **(
            {}
            if stream.target is None
            else {"number": f"output · {stream.target.std!r} + {stream.target.mean!r}"}
        ),
        "classes_of_the_task": [names[c] for c in stream.tasks[task].classes],
        "input": {"images": images, "texts": texts, "vectors": vectors}[stream.kind],
    }


def write(
    out: Path,
    stem: str,
    program: torch.export.ExportedProgram,
    about: dict[str, Any],
    weights: bytes | None = None,
    onnx: bool = False,
) -> Exported:
    """Write the files of an export to `out`, each whole or not at all."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "No complete tensor found in the group"
        )  # of constants laid out otherwise
        torch.export.save(program, buffer)
    contents = {"pt2": buffer.getvalue(), "json": _json(about)}
    if weights is not None:
        contents["safetensors"] = weights
    if onnx:
        contents["onnx"] = as_onnx(program)
    paths = _put(out, {f"{stem}.{end}": content for end, content in contents.items()})
    written = dict(zip(contents, paths, strict=True))
    return Exported(written["pt2"], written["json"], written.get("safetensors"), written.get("onnx"))


def as_onnx(program: torch.export.ExportedProgram) -> bytes:
    """The same program as an ONNX file. Raises `HypermnesiaError` where the package is missing or cannot say it."""
    if find_spec("onnxscript") is None:
        raise HypermnesiaError("ONNX files need onnx and onnxscript: pip install 'hypermnesia[onnx]'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own parts
            found = torch.onnx.export(program, dynamo=True, verbose=False)
        assert found is not None
        return found.model_proto.SerializeToString()
    except Exception as error:  # the exporter may raise anything for an operation that it does not know
        raise HypermnesiaError(
            f"torch.onnx cannot write this program: {type(error).__name__}: {str(error)[:500]}"
        ) from error
