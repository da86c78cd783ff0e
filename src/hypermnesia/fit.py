"""The training loop: the only one. It knows the Method protocol and never a concrete method."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hypermnesia import optim, tensors
from hypermnesia.errors import HypermnesiaError, RunFailed
from hypermnesia.evaluate import EvaluateOptions, Evaluation, applicable, evaluate
from hypermnesia.events import Evaluated, Event, Row, RunEnded, StepDone, TaskEnded, TaskStarted
from hypermnesia.hyper.model import Model
from hypermnesia.infer import Entropy, Inference
from hypermnesia.method import Aux, Batch, Learner, Method, Net, Phase, Step
from hypermnesia.optim import OptimizerOptions
from hypermnesia.order import Order
from hypermnesia.rng import derive, generator
from hypermnesia.streams import Stream, Task


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How long and in which precision a task is trained."""

    iterations: int | None = None
    """Optimizer steps per task: batches are always full and may straddle two epochs."""
    epochs: float | None = None
    """Passes over a task's samples instead of `iterations`; the last batch of a pass holds what is left."""
    batch_size: int = 32
    """Samples of the stream per step, ≥ 1."""
    clip: float | None = None
    """Largest norm of the whole gradient; longer ones are scaled down. none = never."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 computes matrix products and convolutions in bfloat16 (parameters stay float32)."""
    channels_last: bool = False
    """Memory layout of images and convolution weights; pays with convolutional targets, changes only rounding."""
    threads: int | None = None
    """CPU threads; none = torch's own choice. Bit-equal results need the same number."""
    check: Literal["loss", "all"] = "loss"
    """loss stops the run at the first loss that is not finite; all looks at every gradient too and names it."""

    def __post_init__(self) -> None:
        if (self.iterations is None) == (self.epochs is None):
            raise HypermnesiaError(
                f"give either train.iterations or train.epochs, not both and not neither; "
                f"got iterations={self.iterations}, epochs={self.epochs}"
            )
        for name in ("iterations", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HypermnesiaError(f"train.{name}={value} must be at least 1")
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise HypermnesiaError(f"train.epochs={self.epochs} must be above 0")
        if self.clip is not None and not self.clip > 0:
            raise HypermnesiaError(f"train.clip={self.clip} must be above 0")


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What randomness comes from; one number sets all, each can be set alone."""

    init: int = 0
    """Initial parameters and embeddings."""
    order: int = 0
    """Order of the samples and their augmentation."""
    method: int = 0
    """The method's own draws (memories, task subsets), and noise such as dropout."""


@dataclass
class Records:
    """Everything measured so far."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    """scenario → one row per task learned."""
    validation: dict[str, list[Row]] = field(default_factory=dict)
    baseline: dict[str, Row] = field(default_factory=dict)
    """scenario → accuracies of the untrained network."""
    anytime: dict[str, list[list]] = field(default_factory=dict)
    """scenario → [task, step, row] of evaluations on the way."""
    confusion: list[list[float]] | None = None
    seconds: float = 0.0
    """Training time, evaluation excluded."""
    steps: int = 0


@dataclass
class Position:
    """Where in the stream a run is. `started` says whether the task's rows have been added already."""

    task: int = 0
    started: bool = False
    phase: int = 0
    step: int = 0
    phase_started: bool = False


class Fit:
    """One run: iterate over it to train; it yields events, and can be stopped and saved between any two of them.

    ```python
    for event in Fit(model, stream, method, TrainOptions(iterations=2000)):
        print(event)
    ```
    After an iteration (or in the middle of one) `records` holds what was measured and `learner` the models.
    """

    def __init__(
        self,
        models: Model | Mapping[str, Model],
        stream: Stream,
        method: Method,
        train: TrainOptions,
        optimizer: OptimizerOptions | None = None,
        evaluation: EvaluateOptions | None = None,
        inference: Inference | None = None,
        seeds: Seeds | None = None,
        tested_on: Stream | None = None,
        sealed: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        """`tested_on`: the stream whose tasks are evaluated, where training sees them joined. `sealed`: evaluate on
        validation parts only and never touch the test parts (searches)."""
        self.stream, self.method, self.train = stream, method, train
        self.tested_on = tested_on or stream
        self.optimizer_options = optimizer or OptimizerOptions()
        self.evaluation, self.inference = evaluation or EvaluateOptions(), inference or Entropy()
        seeds, self.sealed = seeds or Seeds(), sealed
        if method.needs_boundaries and not stream.boundaries:
            raise HypermnesiaError(f"{_name(method)} needs task boundaries, which the stream {stream.name} does not give")
        if sealed and any(task.validation is None for task in self.tested_on.tasks):
            raise HypermnesiaError("a sealed run needs validation parts: set stream.validation, for example to 0.1")
        named = {"main": models} if isinstance(models, Model) else dict(models)
        self.learner = Learner(
            models={name: model.to(device) for name, model in named.items()},
            preprocess=stream.preprocess,
            shape=stream.shape,
            num_classes=stream.num_classes,
            classes=tuple(task.classes for task in stream.tasks),
            boundaries=stream.boundaries,
            device=torch.device(device),
        )
        self._initial = {n: tensors.copy(m.stored()) for n, m in named.items()} if method.restarts_models else {}
        self.rngs = {
            "init": generator(seeds.init, "init"),
            "order": generator(seeds.order, "order"),
            "method": generator(seeds.method, "method"),
        }
        self._noise_seed = derive(seeds.method, "noise")
        self.noise: Tensor | None = None  # state of torch's global generator, for dropout and the like
        self.state = method.init(self.learner)
        self.inference_state = self.inference.init(self.learner)
        self.position, self.records = Position(), Records()
        self.order: Order | None = None
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.optimizer_of: dict[str, OptimizerOptions] = {}

    # ------------------------------------------------------------------------------------------------ the loop

    def __iter__(self) -> Iterator[Event]:
        with _settings(self.train):
            torch.manual_seed(self._noise_seed)
            if self.noise is not None:
                torch.set_rng_state(self.noise)
            yield from self._run()

    def _run(self) -> Iterator[Event]:
        tasks, position = self.stream.tasks, self.position
        if position.task == 0 and not position.started:
            yield from self._baseline()
        while position.task < len(tasks):
            task = tasks[position.task]
            if not position.started:
                self._begin_task()
                yield TaskStarted(position.task, task.name, len(tasks))
            yield from self._train(task)
            yield from self._end_task(task)
        yield RunEnded(self.records.steps, self.records.seconds)

    def _begin_task(self) -> None:
        """Grow every model by a task; `position.started` tells a resumed run that this is done."""
        learner = self.learner
        learner.task = self.position.task
        for model in learner.models.values():
            if model.num_tasks <= learner.task:  # the untrained network was evaluated with the first task's rows
                model.begin_task(self.rngs["init"])
            model.to(learner.device)
            model.train()
        self.state = self.method.begin_task(self.state, learner)
        self.position.started = True

    def _train(self, task: Task) -> Iterator[Event]:
        phases = list(self.method.phases(self.learner))
        while self.position.phase < len(phases):
            phase = phases[self.position.phase]
            self.learner.phase = phase
            yield from self._run_phase(task, phase)
            self.position.phase += 1
            self.position.step, self.position.phase_started = 0, False
            self.order = None

    def _run_phase(self, task: Task, phase: Phase) -> Iterator[Event]:
        part = task.train if phase.data == "task" else self.method.memory_part(self.state, self.learner)
        if len(part) == 0:
            return
        model = self.learner.models[phase.model]
        if not self.position.phase_started:
            self._start_phase(phase, model, len(part))
        order = self.order
        assert order is not None
        steps = self._steps(phase, order)
        optimizer = self.optimizers.get(phase.model) if phase.trains else None
        net = Net(model)
        while self.position.step < steps:
            started = time.perf_counter()
            self._set_progress(phase, optimizer, steps)
            batch = self._batch(part, order)
            loss, terms = self._step(net, batch, optimizer)
            self.position.step += 1
            self.records.steps += 1
            self.records.seconds += time.perf_counter() - started
            self._check(loss, terms, task)
            every = self.evaluation.steps
            if every is not None and self.position.step % every == 0:
                yield self._evaluate_on_the_way()
            # Checkpoints are taken at StepDone and TaskEnded: whatever belongs to them was recorded before.
            yield StepDone(task.index, phase.name, self.position.step, steps, self.records.steps, loss, terms)

    def _start_phase(self, phase: Phase, model: Model, size: int) -> None:
        if phase.restart:
            self._restart(phase.model, model)
        options, epochs = phase.optimizer or self.optimizer_options, phase.epochs or self.train.epochs
        endless = phase.iterations is not None or (epochs is None and phase.epochs is None)
        batch_size = phase.batch_size or self.train.batch_size
        shuffle = not (self.stream.ordered and phase.data == "task")
        self.order = Order(size, batch_size, endless, self.rngs["order"], shuffle)
        if phase.trains:
            fresh = optim.build(options, model.trainable())
            if options.reset == "never" and phase.model in self.optimizers:
                optim.carry_over(self.optimizers[phase.model], fresh)
            self.optimizers[phase.model], self.optimizer_of[phase.model] = fresh, options
        self.position.phase_started = True

    def _restart(self, name: str, model: Model) -> None:
        with torch.no_grad():
            own = model.stored()
            for key, value in self._initial[name].items():
                own[key].copy_(value)

    def _steps(self, phase: Phase, order: Order) -> int:
        iterations = phase.iterations if phase.iterations or phase.epochs else self.train.iterations
        if iterations is not None:
            return iterations
        epochs = phase.epochs or self.train.epochs
        assert epochs is not None
        return max(1, round(epochs * order.steps_per_epoch()))

    def _set_progress(self, phase: Phase, optimizer: torch.optim.Optimizer | None, steps: int) -> None:
        learner = self.learner
        learner.progress = self.position.step / steps
        # HyperMask raises its sparsity over the first task's steps, counted from 1 (spec of the reference).
        ramp = (self.position.step + 1) / steps if learner.task == 0 else 1.0
        learner.models[phase.model].ramp = ramp
        if optimizer is not None:
            optim.set_progress(optimizer, phase.optimizer or self.optimizer_options, learner.progress)

    def _batch(self, part: Any, order: Order) -> Batch:
        learner = self.learner
        raw, y = part.batch(order.next())
        x = learner.preprocess(raw, self.rngs["order"])
        if self.train.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return Batch(x, y, learner.targets(y, learner.task), learner.task, raw)

    def _step(
        self, net: Net, batch: Batch, optimizer: torch.optim.Optimizer | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        method, learner, rng = self.method, self.learner, self.rngs["method"]
        draw = method.draw(self.state, learner, batch, rng)
        if optimizer is None:
            self.state = method.after_step(self.state, learner, batch, draw, Aux(), Step({}, {}, {}), rng)
            return torch.zeros(()), {}
        params = net.params
        before = tensors.copy(params) if method.watches_parameters else {}

        def move(gradients: Mapping[str, Tensor]) -> tensors.Tensors:
            return optim.candidate(optimizer, gradients)

        with self._autocast():
            gradients, loss, aux = method.gradients(net, self.state, batch, draw, move)
        self._apply(optimizer, params, gradients)
        step = Step(before, params, gradients)
        with torch.no_grad():
            self.state = method.after_step(self.state, learner, batch, draw, aux, step, rng)
        return loss, aux.terms

    def _apply(
        self, optimizer: torch.optim.Optimizer, params: tensors.Tensors, gradients: Mapping[str, Tensor]
    ) -> None:
        if self.train.check == "all":
            for name, g in gradients.items():
                if not bool(torch.isfinite(g).all()):
                    raise RunFailed(f"the gradient of {name} is not finite at step {self.records.steps + 1}")
        for name, parameter in params.items():
            parameter.grad = gradients.get(name)
        if self.train.clip is not None:
            nn.utils.clip_grad_norm_(list(params.values()), self.train.clip)
        optimizer.step()

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.train.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.learner.device.type, dtype=torch.bfloat16)

    def _check(self, loss: Tensor, terms: Mapping[str, Tensor], task: Task) -> None:
        on_device = loss.device.type != "cpu"  # there a look at the value makes the host wait
        if (on_device and self.position.step % 50) or math.isfinite(float(loss)):
            return
        listed = ", ".join(f"{name}={float(value):.4g}" for name, value in terms.items()) or "none"
        raise RunFailed(
            f"the loss became {float(loss)} at step {self.position.step} of task {task.index} ({task.name}); "
            f"its terms: {listed}. A smaller optimizer.lr or train.clip=1 often helps"
        )

    # ---------------------------------------------------------------------------------------------- evaluation

    def _end_task(self, task: Task) -> Iterator[Event]:
        learner, position = self.learner, self.position
        with torch.no_grad():
            for model in learner.models.values():
                model.ramp = 1.0
        self.state = self.method.end_task(self.state, learner, task, self.rngs["method"])
        with torch.no_grad():
            self.inference_state = self.inference.end_task(self.inference_state, learner, task)
        last = position.task + 1 == len(self.stream.tasks)
        event = None
        if self.evaluation.every == "task" or last:
            event = self._evaluated(self._scenarios(last))
        index = position.task
        self.position.task, position.started, position.phase = index + 1, False, 0
        if event is not None:
            yield event
        yield TaskEnded(index, self.records.seconds)

    def _scenarios(self, last: bool) -> tuple[str, ...]:
        chosen = self.evaluation.scenarios
        names = applicable(self.learner, self.tested_on)
        for name in chosen or ():
            if name not in names:
                raise HypermnesiaError(
                    f"the scenario {name} does not apply to {self.stream.name} with this head; "
                    f"there are: {', '.join(names)}"
                )
        many = self.learner.model.depends_on_task and len(self.stream.tasks) > 10
        if chosen is None and many and not last:
            return tuple(n for n in names if n == "task")
        return tuple(chosen) if chosen is not None else names

    def _measure(self, scenarios: Sequence[str], validation: bool = False) -> Evaluation:
        parts = None
        if validation:
            parts = [task.validation for task in self.tested_on.tasks if task.validation is not None]
        with self._autocast():
            return evaluate(
                self.learner,
                self.method,
                self.state,
                self.tested_on,
                self.evaluation,
                self.inference,
                self.inference_state,
                parts=parts,
                scenarios=scenarios,
            )

    def _evaluated(self, scenarios: Sequence[str]) -> Evaluated:
        records, index = self.records, self.position.task
        validates = all(task.validation is not None for task in self.tested_on.tasks)
        checked = self._measure(scenarios, validation=True) if validates else None
        for name, row in checked.scenarios.items() if checked else ():
            _put(records.validation.setdefault(name, []), index, row)
        found = Evaluation({}) if self.sealed else self._measure(scenarios)
        for name, row in found.scenarios.items():
            _put(records.rows.setdefault(name, []), index, row)
        records.confusion = found.confusion or records.confusion
        return Evaluated(index, None, found.scenarios, checked.scenarios if checked else None)

    def _evaluate_on_the_way(self) -> Evaluated:
        names = [n for n in self._scenarios(last=False) if n in ("task", "class", "domain")]
        found = self._measure(names, validation=self.sealed)
        for name, row in found.scenarios.items():
            self.records.anytime.setdefault(name, []).append([self.position.task, self.position.step, row])
        own, checked = ({}, found.scenarios) if self.sealed else (found.scenarios, None)
        return Evaluated(self.position.task, self.position.step, own, checked)

    def _baseline(self) -> Iterator[Event]:
        """Accuracies of the untrained network, which forward transfer is measured against."""
        for model in self.learner.models.values():
            if model.num_tasks == 0:
                model.begin_task(self.rngs["init"])
                model.to(self.learner.device)
        if self.sealed:
            return
        names = [n for n in applicable(self.learner, self.tested_on) if n == "task"]
        if not self.learner.model.depends_on_task and self.stream.shared_labels:
            names.append("domain")
        found = evaluate(
            replace(self.learner, task=-1),
            Method(),
            None,
            self.tested_on,
            self.evaluation,
            self.inference,
            None,
            scenarios=names,
        )
        self.records.baseline = found.scenarios
        yield Evaluated(-1, None, found.scenarios)


def fit(
    model: Model | Mapping[str, Model], stream: Stream, method: Method, train: TrainOptions, **options: Any
) -> Records:
    """Train to the end and return what was measured; `options` are those of `Fit`."""
    run = Fit(model, stream, method, train, **options)
    for _ in run:
        pass
    return run.records


def _put(rows: list[Row], index: int, row: Row) -> None:
    while len(rows) < index:  # tasks that were not evaluated
        rows.append([None] * len(row))
    rows.append(row)


def _name(method: Method) -> str:
    return type(getattr(method, "method", method)).__name__.lower()


@contextlib.contextmanager
def _settings(train: TrainOptions) -> Iterator[None]:
    """Deterministic algorithms and the run's thread count, given back afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time and guards against a bug we do not have
    if train.threads is not None:
        torch.set_num_threads(train.threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.set_num_threads(threads)
