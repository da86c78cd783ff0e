"""result.json and summary.json, and what a finished learner looks like inside: embeddings, masks, memory."""

import base64
import io
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors, count, num_bytes
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.evaluate import tests_are_tasks
from hypermnesia.evaluation.records import Records
from hypermnesia.evaluation.schema import FORMAT
from hypermnesia.evaluation.statistics import statistics
from hypermnesia.experiments.resolve import Config
from hypermnesia.methods.combine import CombinedState
from hypermnesia.methods.learner import Learner
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.training.loop import Fit
from hypermnesia.training.serialise import pack
from hypermnesia.weights.model import Model


def result_of(run: Fit, cfg: Config, seed: int) -> dict[str, Any]:
    """The keys of result.json; see docs/files.md."""
    identity = {
        "format": FORMAT,
        "benchmark": cfg.benchmark,
        "approach": cfg.approach.name,
        "seed": seed,
        "config_sha256": cfg.sha256,
    }
    return identity | figures_of(run)


def figures_of(run: Fit) -> dict[str, Any]:
    """The same without what a configuration says: the figures of any run."""
    records, seen = run.records, seen_tests(run)
    seen_validation = seen_tests(run, validation=True)
    result: dict[str, Any] = {
        "stream_sha256": run.tested_on.sha256,
        "scenarios": _scenarios(records.rows, records.baseline, seen, present_tests(run), records.errors),
        "costs": costs(run.learner, records),
        "class_names": list(run.tested_on.class_names),
        "task_names": [task.name for task in run.tested_on.tasks],
    }
    if run.tested_on.target is not None:
        result["target"] = run.tested_on.target.name
    if records.validation:
        result["validation"] = {"scenarios": _scenarios(records.validation, {}, seen_validation)}
    if records.anytime:
        measured = seen_validation if run.sealed else seen
        result["anytime"] = {
            name: metrics.anytime([row for _, _, row in found], [task for task, _, _ in found], measured)
            for name, found in records.anytime.items()
        }
    if records.confusion is not None:
        result["infer"] = {"confusion": records.confusion}
    return result | portrait(run.learner, run.tested_on.class_names)


def seen_tests(run: Fit, validation: bool = False) -> list[list[int]] | None:
    """For each task trained, the tests (or validation parts) whose classes have all been seen by its end.

    None where part i belongs to the i-th task trained, as validation parts do wherever training is not joint.
    """
    tested, by_task = run.tested_on, validation or tests_are_tasks(run.tested_on)
    if by_task and len(run.stream.tasks) == len(tested.tasks):
        return None
    parts = [task.classes for task in tested.tasks] if by_task else [part.classes for part in tested.tests]
    seen: set[int] = set()
    found = []
    for task in run.stream.tasks:
        seen.update(task.classes)
        found.append([i for i, classes in enumerate(parts) if seen.issuperset(classes)])
    return found


def present_tests(run: Fit) -> list[list[int]] | None:
    """For each task trained, the tests of the classes that it has; None where tests are not of classes that return."""
    if tests_are_tasks(run.tested_on) or len(run.stream.tasks) != len(run.tested_on.tasks):
        return None
    parts = [part.classes for part in run.tested_on.tests]
    return [[i for i, own in enumerate(parts) if {*own} <= {*task.classes}] for task in run.stream.tasks]


def _scenarios(
    rows: Mapping[str, list],
    baseline: Mapping[str, list],
    seen: list | None,
    present: list | None = None,
    errors: Sequence[Any] = (),
) -> dict[str, dict[str, Any]]:
    told: dict[str, Any] = {}
    if errors:  # an average is one whatever its unit
        told = {"error_matrix": list(errors), "mean_absolute_error": metrics.average_accuracy(errors, seen)}
    return {
        name: metrics.summarise(matrix, baseline.get(name), seen, present) | told
        for name, matrix in rows.items()
    }


def trainable_parameters(model: Model) -> int:
    """Numbers that training moves."""
    still = {"frozen", "added", "per_task", *(["masked"] if model.base_trainable == "never" else [])}
    frozen = {f"target.{n}" for n, role in model.roles.items() if role in still}
    return count({n: p for n, p in model.named_parameters() if not p.is_meta and n not in frozen})


def costs(learner: Learner, records: Records) -> dict[str, float | int | None]:
    """What the learner has to keep, and what it took to train it."""
    model = learner.model
    stored: Tensors = {}
    pack({"state": learner.state, "inference": learner.inference_state}, stored, "learner")
    for name, other in learner.models.items():
        stored |= {f"{name}.{key}": value for key, value in other.stored().items()}
    seconds, steps = records.seconds, records.steps
    generator = model.generator
    written = {} if generator is None else {"generator_parameters": count(dict(generator.named_parameters()))}
    return {
        "trainable_parameters": trainable_parameters(model),
        "target_parameters": count(dict(model.target.named_parameters())),
        **written,
        "stored_bytes": num_bytes(stored),
        "train_seconds": seconds,
        "steps": steps,
        "steps_per_second": steps / seconds if seconds > 0 else None,
        "peak_memory_bytes": _peak_memory(learner.device),
    }


def _peak_memory(device: torch.device) -> int:
    """Bytes: on an accelerator what torch has allocated there, else the process's resident set; since `start_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def start_peak(device: torch.device) -> None:
    """Begin to measure the peak of memory anew, so that the runs of one process do not count for each other."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Linux: the resident set's high-water mark
    except OSError:
        return  # elsewhere the peak is the whole process's


def read_figure(result: Mapping[str, Any], path: str) -> float | None:
    """The number under a dotted `path` of a result (`scenarios.task.average_accuracy`); None if it is undefined.

    Raises `HypermnesiaError` when the result has no such key.
    """
    value: Any = result
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            known = ", ".join(value) if isinstance(value, Mapping) else "nothing"
            raise HypermnesiaError(f"a result has no figure {path!r}: there is no {key!r}; there is: {known}")
        value = value[key]
    if value is not None and not isinstance(value, int | float):
        raise HypermnesiaError(f"{path!r} is no number in a result")
    return value


def summary_of(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys of summary.json: mean, std and 95 % interval of every figure over the results of several seeds."""
    first = results[0]
    summary: dict[str, Any] = {key: first[key] for key in ("benchmark", "approach", "config_sha256")}
    summary["seeds"] = [result["seed"] for result in results]
    summary["scenarios"] = _over_seeds([result["scenarios"] for result in results])
    summary["costs"] = _over_seeds([result["costs"] for result in results])
    return summary


def _over_seeds(values: Sequence[Any]) -> Any:
    """Nested numbers of several seeds → the same tree with mean, std and 95 % interval at its leaves."""
    present = [value for value in values if value is not None]
    if present and isinstance(present[0], Mapping):
        keys = [key for key in present[0] if not key.endswith("matrix")]
        return {key: _over_seeds([value.get(key) for value in present]) for key in keys}
    return statistics([float(value) for value in present])


PICTURES = 40
"""Remembered images that are shown."""


def portrait(learner: Learner, class_names: Sequence[str]) -> dict[str, Any]:
    """The optional keys of result.json that describe the learner: `embeddings`, `masks`, `memory`."""
    found: dict[str, Any] = {}
    model = learner.model
    if model.generator is not None and any(e.numel() for e in model.generator.embeddings):
        found["embeddings"] = [e.detach().flatten().tolist() for e in model.generator.embeddings]
    if "masked" in model.roles.values():
        found["masks"] = _masks(model)
    state = learner.state.method if isinstance(learner.state, CombinedState) else learner.state
    memory = getattr(state, "memory", None)
    if isinstance(memory, Memory) and memory.filled and learner.target is None:
        found["memory"] = _memory(memory, class_names)
    return found


@torch.no_grad()
def _masks(model: Model) -> dict[str, Any]:
    """Share of zeros by tensor and task, and how far two tasks' surviving entries coincide (intersection ÷ union)."""
    names = [name for name, role in model.roles.items() if role == "masked"]
    own = dict(model.target.named_parameters())
    alive: dict[str, list[Tensor]] = {name: [] for name in names}
    for task in range(model.num_tasks):
        written = model.written([task])
        for name in names:  # a weight that is 0 without its θ being 0 was masked away
            alive[name].append((written[name][0] != 0) | (own[name] == 0))
    sparsity = {name: [1 - float(a.float().mean()) for a in masks] for name, masks in alive.items()}
    flat = [torch.cat([alive[name][t].flatten() for name in names]) for t in range(model.num_tasks)]
    overlap = [[float((a & b).sum() / (a | b).sum().clamp(min=1)) for b in flat] for a in flat]
    return {"sparsity": sparsity, "overlap": overlap}


def _memory(memory: Memory, names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"classes": {names[c]: n for c, n in sorted(memory.classes().items())}}
    if memory.x.dtype == torch.uint8 and memory.x.dim() == 4 and memory.x.shape[1] in (1, 3):
        found["images"] = [_png(image) for image in memory.images(PICTURES)]
    return found


def _png(x: Tensor) -> str:
    """A uint8 image (C, H, W) as base64 of a PNG file."""
    pixels = x.numpy()
    image = Image.fromarray(pixels[0]) if pixels.shape[0] == 1 else Image.fromarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
