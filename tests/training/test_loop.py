"""The training loop: its events, phases, lengths, stops, and what it leaves as it found it."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import small
import torch
from torch import Tensor, nn

from hypermnesia.commands.result import fit
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, blurry, slots, with_validation
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.methods.base import Method
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Step
from hypermnesia.methods.lwf import LwF
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.training.events import Evaluated, Event, RunEnded, StepDone, TaskEnded, TaskStarted
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.weights import Model
from hypermnesia.weights.options import Plain

SGD = OptimizerOptions(name="sgd", lr=0.1)


@dataclass(frozen=True)
class Watching(Finetune):
    """Keeps every batch and step that it sees."""

    batches: list[Batch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    phases_seen: list[Phase] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    ramps: list[float] = field(default_factory=list)

    watches_parameters = True

    def after_step(self, state: Any, learner: Learner, step: Step, rng: torch.Generator) -> Any:
        after = {name: value.detach().clone() for name, value in step.after.items()}
        gradients = {name: g.clone() for name, g in step.gradients.items()}
        self.steps.append(replace(step, after=after, gradients=gradients))
        self.batches.append(step.batch)
        self.phases_seen.append(learner.phase)
        self.progress.append(learner.progress)
        self.ramps.append(learner.model.ramp)
        return state


def parameters(run: Fit) -> Tensors:
    return {name: value.detach().clone() for name, value in run.learner.model.stored().items()}


def assert_same(a: Fit, b: Fit) -> None:
    first, second = parameters(a), parameters(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert a.records.rows == b.records.rows


# ----------------------------------------------------------------------------------------------------------- events


def test_events_come_in_order() -> None:
    run = small.run()
    events = list(run)
    kinds = [type(event) for event in events]
    assert kinds == [Evaluated, *([TaskStarted, *[StepDone] * 5, Evaluated, TaskEnded] * 3), RunEnded]
    done = [event for event in events if isinstance(event, StepDone)]
    assert [(e.task, e.step, e.steps, e.total_steps) for e in done] == [
        (task, step + 1, 5, 5 * task + step + 1) for task in range(3) for step in range(5)
    ]
    assert [e.task for e in events if isinstance(e, Evaluated)] == [-1, 0, 1, 2]
    assert [e.name for e in events if isinstance(e, TaskStarted)] == ["0, 1", "2, 3", "4, 5"]
    assert run.records.steps == 15
    assert run.records.seconds > 0


def test_a_run_that_has_ended_only_says_so() -> None:
    run = small.run()
    small.all_of([run])
    assert [type(event) for event in run] == [RunEnded]


def test_fit_trains_to_the_end() -> None:
    stream = small.split_stream()
    records = fit(small.model(stream), stream, Finetune(), TrainOptions(iterations=60), optimizer=SGD)
    assert [len(row) for row in records.rows["task"]] == [3, 3, 3]
    assert records.rows["task"][2][2] == 1.0


# ---------------------------------------------------------------------------------------------------------- lengths


def test_what_is_no_method_is_told() -> None:
    stream = small.split_stream()
    model = small.model(stream)
    with pytest.raises(HypermnesiaError, match="^Fit: Finetune is no method; make one by calling its class"):
        fit(model, stream, Finetune, TrainOptions(iterations=1))  # pyright: ignore[reportArgumentType]


def test_generated_weights_that_nothing_holds_are_warned_about() -> None:
    stream = small.split_stream()
    with pytest.warns(UserWarning, match="Finetune alone lets it forget earlier tasks: add a drift penalty"):
        fit(small.model(stream, "hyper"), stream, Finetune(), TrainOptions(iterations=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = combine(Finetune(), Drift(beta=0.01))
        fit(small.model(stream, "hyper"), stream, held, TrainOptions(iterations=1))


def sizes(train: TrainOptions, stream: Stream | None = None) -> list[list[int]]:
    """Batch sizes, task by task."""
    method = Watching()
    run = small.run(stream, method=method, train=train)
    small.all_of([run])
    return [[len(b.y) for b in method.batches if b.task == task] for task in range(3)]


def test_iterations_are_full_batches() -> None:
    """24 samples per task: batches of 7 straddle the epochs."""
    assert sizes(TrainOptions(iterations=5, batch_size=7)) == [[7] * 5] * 3
    assert sizes(TrainOptions(iterations=2, batch_size=50)) == [[50] * 2] * 3


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, [10, 10, 4]), (2, [10, 10, 4] * 2), (1.5, [10, 10, 4, 10]), (0.1, [10])]
)
def test_epochs_end_with_what_is_left(epochs: float, expected: list[int]) -> None:
    assert sizes(TrainOptions(epochs=epochs, batch_size=10)) == [expected] * 3


def test_an_epoch_shows_every_sample_once() -> None:
    method, stream = Watching(), small.split_stream()
    small.all_of([small.run(stream, method=method, train=TrainOptions(epochs=1, batch_size=10))])
    for task in stream.tasks:
        raw, _ = task.train.batch(torch.arange(len(task.train)))
        seen = torch.cat([b.raw for b in method.batches if b.task == task.index])
        assert sorted(map(str, raw.tolist())) == sorted(map(str, seen.tolist()))
        assert not torch.equal(raw, seen)


def test_an_ordered_stream_is_seen_in_order() -> None:
    stream = replace(small.split_stream(), ordered=True)
    method = Watching()
    small.all_of([small.run(stream, method=method, train=TrainOptions(epochs=1, batch_size=10))])
    raw, _ = stream.tasks[1].train.batch(torch.arange(24))
    assert torch.equal(raw, torch.cat([b.raw for b in method.batches if b.task == 1]))


def test_batches_hold_what_a_loss_needs() -> None:
    method, stream = Watching(), small.split_stream(augment=True)
    run = small.run(stream, "hyper", method)
    small.all_of([run])
    for batch in method.batches:
        assert batch.x.dtype == torch.float32 and batch.raw.dtype == torch.uint8
        assert torch.equal(batch.target, batch.y - 2 * batch.task)
    plain = [torch.equal(b.x, stream.preprocess(b.raw, None)) for b in method.batches]
    assert not all(plain)  # x is augmented, raw is not


# ----------------------------------------------------------------------------------------------------------- phases


@dataclass(frozen=True)
class Phased(Watching):
    """Shows, trains, trains from the start on what it has kept, then trains another model."""

    plan: tuple[Phase, ...] = ()

    def extra_models(self, stream: Stream, seed: int) -> dict[str, Model]:
        return {"other": small.model(stream, seed=seed)}

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return self.plan


def kept(*positions: int) -> Any:
    """These of the task's samples, as what a phase trains on."""
    chosen = torch.tensor(positions, dtype=torch.int64)
    return lambda state, learner: small.split_stream().tasks[learner.task].train.subset(chosen)


def phased(*plan: Phase, **options: Any) -> tuple[Fit, Phased]:
    method, stream = Phased(plan=plan), small.split_stream()
    models = {"main": small.model(stream)} | method.extra_models(stream, 1)
    run = Fit(models, stream, method, TrainOptions(iterations=4, batch_size=5), optimizer=SGD, **options)
    return run, method


def test_phases_run_in_order_each_of_its_own_length() -> None:
    run, method = phased(
        Phase("show", trains=False, epochs=1),
        Phase("train"),
        Phase("study", data=kept(3, 1, 2), iterations=2, batch_size=6),
        Phase("other", model="other", epochs=0.5),
    )
    events = [event for event in run if isinstance(event, StepDone)]
    lengths = {"show": 5, "train": 4, "study": 2, "other": 2}
    assert [(e.phase, e.step, e.steps) for e in events if e.task == 1] == [
        (name, step + 1, steps) for name, steps in lengths.items() for step in range(steps)
    ]
    assert {
        len(b.y) for b, p in zip(method.batches, method.phases_seen, strict=True) if p.name == "study"
    } == {6}


def test_a_phase_that_only_shows_moves_nothing() -> None:
    run, method = phased(Phase("show", trains=False, epochs=1))
    before = parameters(run)
    events = [event for event in run if isinstance(event, StepDone)]
    assert all(float(event.loss) == 0 and not event.terms for event in events)
    assert all(torch.equal(before[name], value) for name, value in parameters(run).items())
    assert len(method.batches) == 15
    assert all(not step.before and not step.gradients for step in method.steps)


def test_each_phase_trains_its_own_model() -> None:
    run, _ = phased(Phase("other", model="other"))
    before = {name: {n: v.clone() for n, v in m.stored().items()} for name, m in run.learner.models.items()}
    small.all_of([run])
    for name, model in run.learner.models.items():
        moved = any(not torch.equal(before[name][n], v) for n, v in model.stored().items())
        assert moved == (name == "other")


def test_a_restart_begins_at_the_initial_parameters() -> None:
    run, method = phased(Phase("train"), Phase("again", restart=True))
    initial = parameters(run)
    small.all_of([run])
    firsts = [
        step
        for step, phase, before in zip(
            method.steps, method.phases_seen, [None, *method.phases_seen], strict=False
        )
        if phase.name == "again" and (before is None or before.name != "again")
    ]
    assert len(firsts) == 3
    for step in firsts:
        assert all(torch.equal(step.before[name], initial[name]) for name in step.before)


def test_a_phase_may_have_an_optimizer_of_its_own() -> None:
    slow = OptimizerOptions(name="sgd", lr=1e-6)
    run, method = phased(Phase("train"), Phase("slow", optimizer=slow))
    small.all_of([run])
    largest = {"train": 0.0, "slow": 0.0}
    for step, phase in zip(method.steps, method.phases_seen, strict=True):
        for name, g in step.gradients.items():
            rate = ((step.before[name] - step.after[name]).abs() / g.abs().clamp(min=1e-9)).max()
            largest[phase.name] = max(largest[phase.name], float(rate))
    assert largest["train"] > 0.05 > 1e-3 > largest["slow"]


def test_an_empty_memory_is_no_phase() -> None:
    method, stream = Phased(plan=(Phase("study", data=kept()),)), small.split_stream()
    models = {"main": small.model(stream)} | method.extra_models(stream, 1)
    events = list(Fit(models, stream, method, TrainOptions(iterations=4), optimizer=SGD))
    assert not any(isinstance(event, StepDone) for event in events)
    assert sum(isinstance(event, TaskEnded) for event in events) == 3


def test_progress_and_the_ramp_of_masks() -> None:
    method = Watching()
    small.all_of([small.run(weights="mask", method=method)])
    assert method.progress == [step / 5 for _ in range(3) for step in range(5)]
    assert method.ramps == [(step + 1) / 5 for step in range(5)] + [1.0] * 10


# ------------------------------------------------------------------------------------------------------------ steps


def test_a_step_is_the_optimizers() -> None:
    method = Watching()
    small.all_of([small.run(method=method, optimizer=SGD)])
    for before, after in itertools.pairwise(method.steps):
        assert all(torch.equal(after.before[name], before.after[name]) for name in after.before)
    for step in method.steps:
        for name, g in step.gradients.items():
            torch.testing.assert_close(step.after[name], step.before[name] - 0.1 * g)


def test_clipping_bounds_the_whole_gradient() -> None:
    method = Watching()
    run = small.run(method=method, optimizer=SGD, train=TrainOptions(iterations=5, clip=0.01))
    small.all_of([run])
    for step in method.steps:
        moved = torch.cat([(step.before[n] - step.after[n]).flatten() for n in step.gradients])
        whole = torch.cat([g.flatten() for g in step.gradients.values()])
        assert float(whole.norm()) > 0.01
        torch.testing.assert_close(moved, 0.1 * 0.01 * whole / whole.norm(), rtol=1e-3, atol=1e-6)


def test_short_gradients_are_not_clipped() -> None:
    runs = [small.run(train=TrainOptions(iterations=5, clip=clip)) for clip in (None, 1e6)]
    small.all_of(runs)
    assert_same(*runs)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_gradients_may_lie_in_memory_in_any_way(name: Any) -> None:
    """Fused optimizers would read a transposed or an expanded gradient as garbage."""

    class Strided(Finetune):
        def gradients(self, net: Net, state: Any, batch: Batch, draw: Any, candidate: Any) -> Any:
            found, value, aux = Method.gradients(self, net, state, batch, draw, candidate)
            turned = {n: g.T.contiguous().T if g.dim() == 2 else g for n, g in found.items()}
            assert any(not g.is_contiguous() for g in turned.values())
            row = turned["target.head.weight"].mean(0, keepdim=True)
            return turned | {"target.head.weight": row.expand_as(found["target.head.weight"])}, value, aux

    class Dense(Strided):
        def gradients(self, net: Net, state: Any, batch: Batch, draw: Any, candidate: Any) -> Any:
            found, value, aux = super().gradients(net, state, batch, draw, candidate)
            return {n: g.contiguous() for n, g in found.items()}, value, aux

    options = OptimizerOptions(name=name, lr=0.01, momentum=0.9 if name == "sgd" else 0.0)
    runs = [small.run(method=method, optimizer=options) for method in (Strided(), Dense())]
    small.all_of(runs)
    assert_same(*runs)


@pytest.mark.parametrize(("reset", "steps"), [("task", 5), ("never", 15)])
def test_moments_start_anew_with_a_task_or_go_on(reset: Any, steps: int) -> None:
    run = small.run(optimizer=OptimizerOptions(lr=0.01, reset=reset))
    small.all_of([run])
    optimizer = run.optimizers["main"]
    assert {float(state["step"]) for state in optimizer.state.values()} == {steps}


def test_a_schedule_runs_over_each_task() -> None:
    run = small.run(optimizer=replace(SGD, schedule="cosine"))
    rates = [run.optimizers["main"].param_groups[0]["lr"] for e in run if isinstance(e, StepDone)]
    assert rates[:5] == rates[5:10] == rates[10:]
    assert rates[0] == 0.1 and rates == sorted(rates[:5], reverse=True) * 3


def test_old_rows_neither_train_nor_drift() -> None:
    """A parameter of a finished task stays bit for bit, whatever the optimizer remembers of it."""
    run = small.run(weights=Plain(per_task=("*",)), optimizer=OptimizerOptions(lr=0.01, reset="never"))
    kept: list[Tensors] = []
    for event in run:
        if isinstance(event, TaskEnded):
            kept.append(parameters(run))
    for name, value in kept[0].items():
        if name.startswith("rows.0."):
            assert torch.equal(value, kept[2][name])


@pytest.mark.parametrize("train", [{"precision": "bf16"}, {"channels_last": True}])
def test_precision_and_layout_change_only_rounding(train: dict[str, Any]) -> None:
    runs = []
    for options in ({}, train):
        length = TrainOptions(iterations=3, batch_size=8, **options)
        runs.append(small.run(net=small.conv, train=length, optimizer=replace(SGD, lr=0.01)))
    small.all_of(runs)
    tolerance = 1e-5 if "channels_last" in train else 0.02
    for name, value in parameters(runs[0]).items():
        torch.testing.assert_close(parameters(runs[1])[name], value, rtol=tolerance, atol=tolerance)


def test_convolutions_lie_channels_last() -> None:
    class Deep(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 2)
            self.head = nn.Linear(4, outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.second(self.first(x)).flatten(1))

    runs = [
        small.run(net=Deep, weights=weights, train=TrainOptions(iterations=2, channels_last=True))
        for weights in ("plain", Plain(per_task=("*",)))
    ]
    small.all_of(runs)
    for run in runs:
        convolutions = [p for p in run.learner.model.parameters() if p.dim() == 4 and p.shape[1] > 1]
        assert convolutions
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)


# -------------------------------------------------------------------------------------------- numbers that are not


@dataclass(frozen=True)
class Breaking(Finetune):
    """Breaks at the seventh step: its loss, a gradient, or a parameter behind the optimizer's back."""

    what: str = "loss"
    asked: list[int] = field(default_factory=list)

    def gradients(self, net: Net, state: Any, batch: Batch, draw: Any, candidate: Any) -> Any:
        found, value, aux = Method.gradients(self, net, state, batch, draw, candidate)
        self.asked.append(batch.task)
        if len(self.asked) == 7:
            if self.what == "loss":
                value = value * float("nan")
            if self.what == "gradient":
                found["target.head.weight"] = found["target.head.weight"] / 0
        return found, value, Aux({**aux.terms, "extra": torch.tensor(0.25)})

    def after_step(self, state: Any, *rest: Any) -> Any:
        learner = rest[0]
        if self.what == "parameter" and len(self.asked) == 10:
            learner.model.target.head.bias.data[0] = float("inf")
        return state


def test_a_broken_loss_stops_the_run() -> None:
    run = small.run(method=Breaking())
    events: list[Event] = []
    text = (
        r"the loss became nan at step 2 of task 1 \(2, 3\); its terms: cross_entropy=\d.*, extra=0.25. "
        r"A smaller optimizer.lr or train.clip=1 often helps"
    )
    with pytest.raises(RunFailed, match=text):
        for event in run:
            events.append(event)
    assert sum(isinstance(event, StepDone) for event in events) == 6
    assert run.records.steps == 7


def test_a_broken_gradient_is_named_if_asked_for() -> None:
    run = small.run(method=Breaking("gradient"), train=TrainOptions(iterations=5, check="all"))
    text = r"the gradient of target.head.weight is not finite at step 2 of task 1 \(2, 3\)"
    with pytest.raises(RunFailed, match=text):
        small.all_of([run])
    run = small.run(method=Breaking("gradient"))
    with pytest.raises(RunFailed, match="the loss became nan at step 3 of task 1"):
        small.all_of([run])


def test_a_broken_parameter_does_not_outlive_its_task() -> None:
    """The last loss of a task is finite although its step was not."""
    run = small.run(method=Breaking("parameter"))
    with pytest.raises(RunFailed, match="the value of target.head.bias is not finite at step 10 of the run"):
        small.all_of([run])


# ------------------------------------------------------------------------------------- what is left as it was found


def outside() -> tuple[Any, ...]:
    fill = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    return torch.get_deterministic_debug_mode(), fill, torch.get_num_threads(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("mode", [0, 1])
def test_settings_are_given_back(mode: int) -> None:
    torch.manual_seed(7)
    torch.set_deterministic_debug_mode(mode)
    try:
        before = outside()
        run = small.run(train=TrainOptions(iterations=2, threads=2))
        inside = set()
        for _ in run:
            inside.add((torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()))
        assert inside == {(True, 2)}
        assert outside() == before
        broken = small.run(method=Breaking())
        with pytest.raises(RunFailed):
            small.all_of([broken])
        assert outside() == before
        stopped = iter(small.run())
        next(stopped)
        stopped.close()  # pyright: ignore[reportAttributeAccessIssue]
        assert outside() == before
    finally:
        torch.set_deterministic_debug_mode(0)


def noisy(outputs: int) -> nn.Module:
    return small.mlp(outputs, dropout=0.5)


def test_a_run_that_was_left_goes_on_exactly() -> None:
    """Also with dropout, and with other random numbers drawn meanwhile."""
    whole, parts = small.run(net=noisy), small.run(net=noisy)
    small.all_of([whole])
    for stop in (1, 4, 7, 100):
        torch.manual_seed(stop)
        torch.rand(5)
        events = iter(parts)
        for event in itertools.islice(events, stop):
            assert event is not None
        events.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert_same(whole, parts)
    assert parts.records.steps == 15


# ------------------------------------------------------------------------------------------------------------ seeds


def seeded(**seeds: int) -> Fit:
    stream = small.split_stream(augment=True)
    run = Fit(
        small.model(stream, "hyper", noisy, seed=seeds.get("init", 0)),
        stream,
        combine(Finetune(), Drift(tasks_per_step=1)),
        TrainOptions(iterations=4, batch_size=4),
        seeds=Seeds(**seeds),
    )
    small.all_of([run])
    return run


@pytest.mark.parametrize("name", ["init", "order", "method"])
def test_each_seed_counts(name: str) -> None:
    first, second = parameters(seeded()), parameters(seeded(**{name: 1}))
    assert any(not torch.equal(first[n], second[n]) for n in first)


# ------------------------------------------------------------------------------------------------------- evaluation


def test_the_untrained_network_is_measured_first() -> None:
    run = small.run(weights="hyper")
    first = next(iter(run))
    assert isinstance(first, Evaluated)
    assert (first.task, first.step) == (-1, None)
    assert set(first.scenarios) == {"task"}
    assert run.records.baseline == first.scenarios


def test_evaluation_on_the_way_comes_before_its_step() -> None:
    run = small.run(evaluation=EvaluateOptions(steps=2))
    events = list(run)
    for i, event in enumerate(events):
        if isinstance(event, Evaluated) and event.step is not None:
            after = events[i + 1]
            assert isinstance(after, StepDone)
            assert (after.task, after.step) == (event.task, event.step)
    found = run.records.anytime["task"]
    assert [(task, step) for task, step, _ in found] == [(t, s) for t in range(3) for s in (2, 4)]
    assert all(len(row) == 3 for _, _, row in found)


def test_evaluation_on_the_way_changes_no_training() -> None:
    for weights, net in (("plain", noisy), ("hyper", small.conv)):
        kind: Any = weights
        runs = [
            small.run(weights=kind, net=net, evaluation=EvaluateOptions(steps=steps)) for steps in (None, 1)
        ]
        small.all_of(runs)
        assert_same(*runs)


def test_evaluation_at_the_end_only() -> None:
    run = small.run(evaluation=EvaluateOptions(every="end"))
    events = list(run)
    assert [e.task for e in events if isinstance(e, Evaluated)] == [-1, 2]
    assert run.records.rows["task"][:2] == [[None] * 3] * 2
    assert None not in run.records.rows["task"][2]


def test_beyond_ten_tasks_the_task_is_inferred_at_the_end_only() -> None:
    stream = small.split_stream(tasks=11)
    run = small.run(stream, "hyper", train=TrainOptions(iterations=1))
    small.all_of([run])
    rows = run.records.rows
    assert rows["class"][:10] == rows["domain"][:10] == [[None] * 11] * 10
    assert None not in rows["class"][10]
    assert all(None not in row for row in rows["task"])
    asked = EvaluateOptions(scenarios=("task", "class"))
    run = small.run(stream, "hyper", train=TrainOptions(iterations=1), evaluation=asked)
    small.all_of([run])
    assert set(run.records.rows) == {"task", "class"}
    assert run.records.rows["class"][3][3] is not None


def test_validation_parts_are_measured_beside_the_tests() -> None:
    stream = with_validation(small.split_stream(), 0.25, 0)
    run = small.run(stream)
    evaluated = [e for e in run if isinstance(e, Evaluated) and e.task >= 0]
    assert all(e.validation and e.scenarios for e in evaluated)
    assert set(run.records.validation) == set(run.records.rows)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_sealed_run_never_sees_the_tests(repeated: bool) -> None:
    class Sealed:
        def __len__(self) -> int:
            raise AssertionError("a sealed run has asked for test samples")

        batch = __len__

    stream = slots(small.source(4), tasks=3, classes_per_task=3) if repeated else small.split_stream()
    stream = with_validation(stream, 0.25, 0)
    test: Any = Sealed()
    tasks = tuple(replace(task, test=test) for task in stream.tasks)
    tests = stream.tests if repeated else tuple(task.test for task in tasks)
    stream = replace(stream, tasks=tasks, tests=tuple(test for _ in tests))
    if not repeated:
        stream = replace(stream, tests=tuple(task.test for task in stream.tasks))
    run = small.run(stream, sealed=True, evaluation=EvaluateOptions(steps=2))
    events = list(run)
    assert run.records.rows == run.records.baseline == {}
    assert all(not e.scenarios and e.validation for e in events if isinstance(e, Evaluated))
    assert len(run.records.validation["class"]) == 3
    assert len(run.records.anytime["class"]) == 6


def test_joint_training_is_tested_on_the_tasks() -> None:
    stream = small.split_stream()
    joined = stream.joined()
    run = Fit(small.model(joined), joined, Finetune(), TrainOptions(iterations=3), tested_on=stream)
    small.all_of([run])
    assert [len(row) for row in run.records.rows["task"]] == [3]
    assert [len(row) for row in run.records.rows["class"]] == [3]


# ----------------------------------------------------------------------------------------------------------- errors


def test_what_cannot_be_measured_is_said_at_the_start() -> None:
    text = "evaluate.scenarios: domain does not apply to split with this head; there are: task, class"
    with pytest.raises(HypermnesiaError, match=text):
        small.run(evaluation=EvaluateOptions(scenarios=("domain",)))


def test_a_sealed_run_needs_validation_parts() -> None:
    with pytest.raises(HypermnesiaError, match="a sealed run needs validation parts: set stream.validation"):
        small.run(sealed=True)


def test_boundaries_that_a_stream_does_not_give() -> None:
    stream = blurry(small.split_stream(), 0.3, 0)
    said = "needs task boundaries, which the stream .* does not give: take a method that does without"
    with pytest.raises(HypermnesiaError, match=f"^the penalty drift {said}"):
        small.run(stream, "hyper", combine(Finetune(), Drift()))
    with pytest.raises(HypermnesiaError, match=f"^LwF {said}"):
        small.run(stream, method=LwF())
    small.all_of([small.run(stream)])
