"""The training loop: the only one. It knows the Method protocol and never a concrete method."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch

from hypermnesia.core import optim, tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import derive, generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, Task
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.evaluation.infer import Entropy, Inference
from hypermnesia.evaluation.records import Records
from hypermnesia.evaluation.schedule import Schedule, note
from hypermnesia.methods.base import Method, Penalty
from hypermnesia.methods.learner import Learner, Net, Phase, Samples, Step
from hypermnesia.training import anywhere, determinism, reading, selection
from hypermnesia.training.batches import Batches, Joined, Order
from hypermnesia.training.events import Evaluated, Event, RunEnded, StepDone, TaskEnded, TaskStarted
from hypermnesia.training.features import Features, kept
from hypermnesia.training.guards import check_loss, check_tensors, device_named, fresh
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.training.position import Abandoned, Position, Taken
from hypermnesia.training.step import Stepper, StepRequest, StepResult, precision
from hypermnesia.weights.model import Model


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
        optimizer: OptimizerOptions | type[torch.optim.Optimizer] | None = None,
        evaluation: EvaluateOptions | None = None,
        inference: Inference | None = None,
        seeds: Seeds | None = None,
        tested_on: Stream | None = None,
        sealed: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        """`optimizer`: options, or a class of `torch.optim` for its defaults. `tested_on`: the stream whose tasks are
        evaluated, where training sees them joined. `sealed`: evaluate on validation parts only and never touch the test
        parts (searches)."""
        if isinstance(method, Penalty):
            named = type(method).__name__
            raise HypermnesiaError(
                f"Fit: {named} is a penalty; join it to a method: combine(Finetune(), {named}())"
            )
        if not isinstance(method, Method):
            given = method.__name__ if isinstance(method, type) else type(method).__name__
            raise HypermnesiaError(
                f"Fit: {given} is no method; make one by calling its class, such as Finetune()"
            )
        self.stream, self.method, self.train = stream, method, train
        self.threads: int | None = train.fixed_threads
        """CPU threads; None until they are chosen, and where torch chooses."""
        self.tested_on = tested_on or stream
        self.optimizer_options = optim.options_of(optimizer)
        self.evaluation, self.inference = evaluation or EvaluateOptions(), inference or Entropy()
        seeds, self.sealed = seeds or Seeds(), sealed
        method.check(stream)
        named = {"main": models} if isinstance(models, Model) else models
        if not isinstance(named, Mapping) or not all(isinstance(model, Model) for model in named.values()):
            given = type(models).__name__
            raise HypermnesiaError(f"Fit: {given} is no model; make one of it: model_for(stream, net)")
        named = fresh(dict(named))
        reading.check(method, named.values())
        self.learner = Learner(
            models=named,
            preprocess=stream.preprocess,
            shape=stream.shape,
            num_classes=stream.num_classes,
            classes=tuple(task.classes for task in stream.tasks),
            boundaries=stream.boundaries,
            device=device_named(device),
            dtype=stream.dtype,
            target=stream.target,
            method=method,
            inference=self.inference,
        )
        for model in named.values():
            self._place(model)
        self._schedule = Schedule(self.learner, len(stream.tasks), self.tested_on, self.evaluation, sealed)
        self._initial = {name: tensors.copy(named[name].stored()) for name in self._restarted()}
        self.rngs = {name: generator(getattr(seeds, name), name) for name in ("init", "order", "method")}
        self._noise_seed = derive(seeds.method, "noise")
        self.noise: Tensors | None = None
        """Where torch's global generators stood when the run was last left; None before its start."""
        self._running = False
        self.learner.state = method.init(self.learner)
        self.learner.inference_state = self.inference.init(self.learner)
        self.position, self.records = Position(), Records()
        self.order: Order | None = None
        self.selection: selection.Selection | None = None
        selection.check(train, self.optimizer_options, stream)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.optimizer_of: dict[str, OptimizerOptions] = {}
        self._asked_to_leave = False
        self._may_leave: bool | None = None

    def leave(self) -> None:
        """Leave work that can be done again, such as an evaluation: raises `Abandoned` if the run is in the middle of some,
        as a signal's handler may find it, and else as soon as it would begin some."""
        self._asked_to_leave = True
        if self._may_leave is not None:
            raise Abandoned(self._may_leave)

    @contextlib.contextmanager
    def _leavable(self, whole: bool) -> Iterator[None]:
        """Work that `leave` may leave in the middle; `whole`: nothing is changed within but random numbers drawn."""
        noise = determinism.noise(self.learner.device)
        self._may_leave = whole
        try:
            if self._asked_to_leave:
                raise Abandoned(whole)
            yield
        except Abandoned:
            determinism.set_noise(noise, self.learner.device)
            raise
        finally:
            self._may_leave = None

    @property
    def restarts(self) -> bool:
        """Whether some phase starts a model from its initial parameters."""
        return bool(self._initial)

    def _restarted(self) -> set[str]:
        """The models that some phase starts from their initial parameters."""
        learners = [replace(self.learner, task=task) for task in range(len(self.stream.tasks))]
        return {p.model for learner in learners for p in self.method.phases(learner) if p.restart}

    def __iter__(self) -> Iterator[Event]:
        device = self.learner.device
        anywhere.hold(self.train, device)
        with determinism.settings(self.threads):
            outside = determinism.noise(device)
            torch.manual_seed(self._noise_seed)
            if self.noise is not None:
                determinism.set_noise(self.noise, device)
            self._running = True
            try:
                stepper = Stepper(self.method, self.train, device)
                undecided = self.threads is None and self.train.threads == "auto" and device.type == "cpu"
                for item in self.advance():
                    if isinstance(item, StepRequest):
                        if undecided:
                            self.threads, undecided = stepper.choose_threads(item), False
                        stepper.take(item)
                    else:
                        yield item
            finally:
                self._running, self.noise = False, determinism.noise(device)
                determinism.set_noise(outside, device)

    def seed_noise(self) -> None:
        """Note where torch's global generators would stand at the start, for those who drive several runs at once: what
        they may drive draws nothing from them."""
        if self.noise is None:
            outside = determinism.noise(self.learner.device)
            torch.manual_seed(self._noise_seed)
            self.noise = determinism.noise(self.learner.device)
            determinism.set_noise(outside, self.learner.device)

    def current_noise(self) -> Tensors | None:
        """Where torch's global generators stand for this run, also while it is being iterated over."""
        return determinism.noise(self.learner.device) if self._running else self.noise

    def advance(self) -> Iterator[Event | StepRequest]:
        """The run's events, and each step that it is ready to take: whoever iterates has to take it.

        For those who drive several runs at once, within `training.settings`; all others iterate over the run itself.
        """
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
            if model.num_tasks <= learner.task:  # the first rows were made to evaluate the untrained network
                self.grow(model)
            model.train()
        reading.begin(learner, self.stream.tasks[learner.task])
        learner.state = self.method.begin_task(learner.state, learner)
        learner.state = self.method.see_task(learner.state, learner, self.stream.tasks[learner.task])
        self.position.started = True

    def grow(self, model: Model) -> None:
        """Add a task's rows to a model."""
        model.begin_task(self.rngs["init"])
        self._place(model)

    def _place(self, model: Model) -> None:
        model.to(self.learner.device)
        if self.train.channels_last:
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _train(self, task: Task) -> Iterator[Event | StepRequest]:
        phases = list(self.method.phases(self.learner))
        while self.position.phase < len(phases):
            phase = phases[self.position.phase]
            self.learner.phase = phase
            yield from self._run_phase(task, phase)
            self.position.phase += 1
            self.position.step, self.position.phase_started = 0, False
            self.order = self.selection = None

    def _run_phase(self, task: Task, phase: Phase) -> Iterator[Event | StepRequest]:
        learner = self.learner
        part = task.train if phase.data is None else phase.data(learner.state, learner)
        if phase.beside is not None:
            part = Joined(part, phase.beside(learner.state, learner))
        if len(part) == 0:
            return
        model = learner.models[phase.model]
        if not self.position.phase_started:
            self._start_phase(phase, model, len(part))
        order = self.order
        assert order is not None
        steps = self._steps(phase, order)
        optimizer = self.optimizers.get(phase.model) if phase.trains else None
        features, tail = kept(self.train, self.method, learner, part, steps * order.batch_size)
        net, batches = Net(model, part=tail), self._batches(part, phase, order, features)
        if self.position.taken is not None:
            yield from self._announce(task, phase, steps, self.position.taken)
        while self.position.step < steps:
            started = time.perf_counter()
            self._set_progress(phase, optimizer, steps)
            batch = batches.next()
            rng = self.rngs["method"]
            if optimizer is None:
                draw = self.method.draw(learner.state, learner, batch, rng)
                result = StepResult(torch.zeros(()), Step(batch, draw), 0.0)
            else:
                done = self.position.step
                request = StepRequest(
                    net, learner, batch, rng, optimizer, done, partial(self._when, done + 1)
                )
                self.records.seconds += time.perf_counter() - started
                yield request
                started = time.perf_counter()
                assert request.result is not None
                result = request.result
            with torch.no_grad():
                learner.state = self.method.after_step(learner.state, learner, result.step, rng)
            self.position.step += 1
            self.records.steps += 1
            self.records.seconds += result.seconds + time.perf_counter() - started
            self._check(result, last=self.position.step == steps)
            if self.selection is not None:
                self.selection = self.selection.look(learner, task, self.position.step, steps, order)
            taken = Taken(result.loss, dict(result.step.aux.terms))
            yield from self._announce(task, phase, steps, taken)

    def _announce(self, task: Task, phase: Phase, steps: int, taken: Taken) -> Iterator[Event]:
        """Say that a step is done, after the evaluation that is due there."""
        position = self.position
        if self._schedule.due(position.step):
            position.taken = taken
            reading.renew(self.learner, task)
            measured = self._measured(position.step)
            position.taken = None
            if measured is not None:
                yield measured
        # Checkpoints are taken at StepDone and TaskEnded: whatever belongs to them was recorded before.
        done = position.step, steps, self.records.steps
        yield StepDone(task.index, phase.name, *done, taken.loss, taken.terms)

    def _start_phase(self, phase: Phase, model: Model, size: int) -> None:
        if phase.restart:
            self._restart(phase.model, model)
        options, epochs = phase.optimizer or self.optimizer_options, phase.epochs or self.train.epochs
        endless = phase.iterations is not None or (epochs is None and phase.epochs is None)
        shuffle = not (self.stream.ordered and phase.data is None)
        self.order = Order(
            size, phase.batch_size or self.train.batch_size, endless, self.rngs["order"], shuffle
        )
        if phase.trains:
            fresh = optim.build(options, model.trainable())
            if options.reset != "task" and phase.model in self.optimizers:
                optim.carry_over(self.optimizers[phase.model], fresh, table=options.reset == "table")
            self.optimizers[phase.model], self.optimizer_of[phase.model] = fresh, options
        self.selection = selection.begun(phase, self.train, options, self.evaluation)
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
        learner.models[phase.model].set_progress((self.position.step + 1) / steps)
        if optimizer is not None:
            lowered = self.selection.lowered if self.selection else 0
            optim.set_progress(optimizer, self.optimizer_of[phase.model], learner.progress, lowered)

    def _batches(self, part: Samples, phase: Phase, order: Order, features: Features | None) -> Batches:
        fixed = phase.data is None and phase.beside is None  # a memory may change with every step
        return Batches(
            part, order, self.learner, self.rngs["order"], fixed, self.train.channels_last, features
        )

    def _check(self, result: StepResult, last: bool) -> None:
        # on a GPU a look at the value makes the host wait
        if result.loss.is_cpu or last or self.position.step % 50 == 0:
            check_loss(result.loss, result.step.aux.terms, partial(self._when, self.position.step))

    def refuse_broken(self) -> None:
        """Raise `RunFailed` if a model holds a number that is not finite: such a run is not worth keeping."""
        for model in self.learner.models.values():
            check_tensors("value", model.stored(), f"step {self.records.steps} of the run")

    def _when(self, step: int) -> str:
        task = self.stream.tasks[self.position.task]
        return f"step {step} of task {task.index} ({task.name})"

    # ---------------------------------------------------------------------------------------------- evaluation

    def _end_task(self, task: Task) -> Iterator[Event]:
        learner, position = self.learner, self.position
        self.refuse_broken()
        for model in learner.models.values():
            model.set_progress(1.0)
        if not position.ended:
            started = time.perf_counter()
            with self._leavable(whole=False):
                reading.end(learner, task)
                learner.state = self.method.end_task(learner.state, learner, task, self.rngs["method"])
                with torch.no_grad():
                    learner.inference_state = self.inference.end_task(learner.inference_state, learner, task)
            self.records.seconds += time.perf_counter() - started
            position.ended = True
        event = self._measured()
        index = position.task
        position.task, position.started, position.phase, position.ended = index + 1, False, 0, False
        if event is not None:
            yield event
        yield TaskEnded(index, self.records.seconds)

    def _measured(self, step: int | None = None, untrained: bool = False) -> Evaluated | None:
        """The evaluation that is due after `step` of the task, or at its end; it is in the records."""
        schedule = self._schedule
        with self._leavable(whole=True):
            if untrained:
                found = schedule.untrained()
            else:
                with precision(self.train, self.learner.device):
                    found = schedule.task_ended() if step is None else schedule.on_the_way()
        if found is None:
            return None
        task = -1 if untrained else self.position.task
        note(self.records, found, task, step)
        return Evaluated(task, step, found.scenarios, found.validation)

    def _baseline(self) -> Iterator[Event]:
        for model in self.learner.models.values():
            if model.num_tasks == 0:
                self.grow(model)
        found = self._measured(untrained=True)
        if found is not None:
            yield found
