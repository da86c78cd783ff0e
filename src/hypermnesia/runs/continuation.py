"""A run that goes on with further data: its stream, and how it takes over what a finished run has learned."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import derive
from hypermnesia.data import Stream
from hypermnesia.data.extend import Further, extended, followed_by, retested
from hypermnesia.data.load import load
from hypermnesia.data.outline import beginning
from hypermnesia.evaluation.records import Records
from hypermnesia.experiments.build import assemble, without_base
from hypermnesia.experiments.features import through
from hypermnesia.experiments.resolve import Config
from hypermnesia.nets.stages import classifier
from hypermnesia.training import anywhere
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.position import Position
from hypermnesia.weights.build import model_over
from hypermnesia.weights.model import Model


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a run goes on with, and from where: what its environment.json holds under `continues`."""

    further: Further
    tasks: int
    """Tasks that were learned before."""
    classes: int
    """Classes that the stream had by then."""
    stream_sha256: str
    """Checksum of that stream."""
    retest: bool = False
    """Whether earlier tasks are tested again, on the run's own data."""
    earlier: "Continuation | None" = None
    """What the finished run had itself gone on with, if it had."""

    def as_json(self) -> dict[str, Any]:
        """A JSON-able form that `from_json` reads."""
        return _ACCOUNT.dump_python(self, mode="json", exclude_none=True)

    @classmethod
    def from_json(cls, value: Any) -> "Continuation":
        """What `as_json` wrote; `HypermnesiaError` for anything else."""
        try:
            return _ACCOUNT.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise HypermnesiaError(f"no account of a continued run: {where}: {first['msg']}") from error


_ACCOUNT = TypeAdapter(Continuation)


def build(
    cfg: Config, seed: int, saved: Stream, goes_on: Continuation, data_dir: Path | None, device: str
) -> Fit:
    """The run over the stream that `saved` outlines and the further data, at its very beginning: see `take_over`.

    `saved`: the outline of the finished stream, or of this run's own. `data_dir`: of the benchmark, to test
    again; `HypermnesiaError` where its data are not there.
    """
    anywhere.hold(cfg.sections["train"], device)
    earlier = replace(beginning(saved, goes_on.tasks, goes_on.classes), source_sha256=goes_on.stream_sha256)
    stream = extended(earlier, goes_on.further, through(cfg.sections["stream"]))
    if goes_on.retest:
        stream = retested(stream, _original(cfg, seed, goes_on.earlier, data_dir))
    run = assemble(without_base(cfg), stream, seed, device)
    return (
        assemble(cfg, stream, seed, device) if run.restarts else run
    )  # from initial values, which are the base's


def _original(cfg: Config, seed: int, before: Continuation | None, data_dir: Path | None) -> Stream:
    """The stream that a run has learned, with its samples: the benchmark's, and what it went on with `before`."""
    options, own = cfg.sections["stream"], cfg.sections["seeds"].stream
    seen = through(options)
    if before is None:
        seed = seed if own is None else own
        return load(cfg.benchmark, data_dir=data_dir, seed=seed, options=options, through=seen)
    return extended(_original(cfg, seed, before.earlier, data_dir), before.further, seen)


def onwards(finished: Fit, more: Stream, train: TrainOptions | None = None, apart: bool = False) -> Fit:
    """The run that goes on from a finished one with the tasks of `more`, ready to be iterated over.

    The finished run stays as it is; the new one is its like over the longer stream, trained by its options but for `train`.
    `apart`: classes are new even where the finished run has some of the same names. Raises `HypermnesiaError` for samples
    of another kind or shape, for a model that was not built from options, and where more than a shared classifier has to grow.
    """
    if finished.position.task < len(finished.stream.tasks):
        raise HypermnesiaError(
            "a run that is not finished cannot go on with further data: train it to its end first"
        )
    if finished.tested_on is not finished.stream:
        raise HypermnesiaError("this run learns all tasks at once and none later; run it again over all data")
    stream, old = followed_by(finished.stream, more, apart), finished.learner.model
    if old.weights is None or old.head is None:
        raise HypermnesiaError("a model that was put together by hand cannot grow: make it with model_for")
    classes = tuple(task.classes for task in stream.tasks)
    head = replace(old.head, classes=classes, num_classes=stream.num_classes)
    seed = derive(finished.rngs["init"].initial_seed(), f"onwards {len(classes)}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = like(old.target, head.width)
    model = model_over(stream, net, head, old.weights, seed)
    run = Fit(
        {"main": model} | finished.method.extra_models(stream, seed),
        stream,
        finished.method,
        train or finished.train,
        finished.optimizer_options,
        finished.evaluation,
        finished.inference,
        sealed=finished.sealed,
        device=finished.learner.device,
    )
    take_over(run, finished)
    own = run.learner  # memories, sums and generators are written into, and the finished run keeps its own
    own.state, own.inference_state, run.rngs = copy.deepcopy((own.state, own.inference_state, run.rngs))
    return run


def like(target: nn.Module, outputs: int) -> nn.Module:
    """A copy of a model's target network that has its parameters by itself, and so many outputs of a plain classifier: weights
    that ask for another put it in again."""
    net = copy.deepcopy(target)
    for module in net.modules():
        for key, value in list(module.named_parameters(recurse=False)):
            if value.is_meta:
                module.register_parameter(key, nn.Parameter(torch.zeros(value.shape, dtype=value.dtype)))
    path = classifier(net)
    last = net.get_submodule(path)
    assert isinstance(last, nn.Linear)
    if last.out_features != outputs or type(last) is not nn.Linear:
        wider = nn.Linear(last.in_features, outputs, last.bias is not None)
        if not path:
            return wider
        net.set_submodule(path, wider)
    return net


def take_over(run: Fit, finished: Fit) -> None:
    """Bring `run`, fresh and over a longer stream, to where the run of the shorter one has finished.

    Models, the method's state, what the inference has gathered, all random generators and records are taken over; the
    optimizers start anew. A classifier that all tasks share has a row for each new class, as it was initialised. Raises
    `HypermnesiaError` where anything else would have to grow.
    """
    before, after = finished.learner, run.learner
    for name, model in finished.learner.models.items():
        while after.models[name].num_tasks < model.num_tasks:
            run.grow(after.models[name])
        _copy(after.models[name], model, len(run.stream.tasks[-1].classes))
    after.task = before.task
    after.state, after.inference_state = before.state, before.inference_state
    run.rngs, run.noise, run.threads = finished.rngs, finished.noise, finished.threads
    run.position = Position(task=finished.position.task)
    run.records = _widened(finished.records, len(run.tested_on.tests))
    for model in after.models.values():
        model.train()
        model.trainable()


def _copy(model: Model, finished: Model, classes: int) -> None:
    """All values of `finished`; where the shared classifier has more rows here, its first ones."""
    own, given = model.stored(), finished.stored()
    path = classifier(model.target)
    grows = {
        f"target.{path}.{key}" for key in ("weight", "bias") if model.roles.get(f"{path}.{key}") == "shared"
    }
    other = [
        name
        for name, value in own.items()
        if name not in given or not _fits(value, given[name], name in grows)
    ]
    written, before = (dict(m.generator.shapes) if m.generator is not None else {} for m in (model, finished))
    other += [name for name, shape in written.items() if before.get(name) != shape]
    if other or len(own) != len(given):
        raise HypermnesiaError(_cannot_grow(model, finished, classes, other))
    with torch.no_grad():
        for name, value in own.items():
            value[: len(given[name])].copy_(given[name]) if name in grows else value.copy_(given[name])


def _fits(value: Tensor, given: Tensor, grows: bool) -> bool:
    return value.shape == given.shape or (
        grows and value.shape[1:] == given.shape[1:] and len(value) >= len(given)
    )


def _cannot_grow(model: Model, finished: Model, classes: int, names: list[str]) -> str:
    head = finished.head
    if head is not None and head.kind == "per_task" and classes > head.width:
        return (
            f"the new task has {classes} classes, and the networks of this run have {head.width} outputs: bring the "
            f"classes as several tasks, with stream.classes_per_task={head.width}"
        )
    kind = head.kind if head is not None else "none"
    return (
        f"head={kind} needs more outputs for the new classes, and only a classifier that is one for all tasks can grow. "
        f"Here these would have to: {', '.join(names[:5]) or 'the stored values'}. Train with head=per_task to learn "
        "further classes later"
    )


def _widened(records: Records, tests: int) -> Records:
    """The records with empty columns for the tests that have come."""

    def wide(row: list[float | None]) -> list[float | None]:
        return [*row, *[None] * (tests - len(row))]

    return replace(
        records,
        rows={name: [wide(row) for row in rows] for name, rows in records.rows.items()},
        validation={},
        baseline={name: wide(row) for name, row in records.baseline.items()},
        anytime={name: [[t, s, wide(row)] for t, s, row in found] for name, found in records.anytime.items()},
    )
