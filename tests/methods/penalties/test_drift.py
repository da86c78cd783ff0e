"""The drift penalty as a part of training: its options, its forms, and what equals what."""

from dataclasses import replace
from typing import Any

import pytest
import small
import torch
import torch.nn.functional as F
from penalties import scene, slow_distances
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import StreamOptions, load
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.penalties.drift import Drift, DriftState
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights import DenseOptions, Model
from hypermnesia.weights.build import model_for
from hypermnesia.weights.model import evaluating
from hypermnesia.weights.options import Hyper, Partial, Weights, of_kind

SLICED = Hyper(head="sliced")


def value_of(found: Any, draw: tuple[int, ...] = (0, 1), **options: Any) -> Tensor:
    penalty = replace(found.method.penalties[0], **options)
    value = penalty.value(found.net, found.state.penalties[0], draw)
    assert value is not None
    return value


def targets(found: Any) -> list[Tensors]:
    return [
        {name: v.detach() for name, v in task.items()} for task in found.written(range(found.learner.task))
    ]


# --------------------------------------------------------------------------------------------------------- the value


@pytest.mark.parametrize("form", ["gram", "direct"])
@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({}, 1 / 3),
        ({"over_tasks": "sum"}, 1.0),
        ({"over_tasks": "reference"}, 1 / 9),
        ({"reduction": "mean"}, 1 / 3 / 154),
        ({"beta": 0.0}, 0.0),
    ],
    ids=str,
)
def test_scaling(form: Any, options: dict[str, Any], factor: float) -> None:
    """A target of 154 numbers (16·8 + 8 + 8·2 + 2), three earlier tasks, β = 1 unless said otherwise."""
    found = scene(tasks=4, form=form, beta=1.0)
    then = targets(found)
    found.move()
    slow = slow_distances(found.written([0, 1, 2]), then).sum() * factor
    torch.testing.assert_close(value_of(found, (0, 1, 2), **options), slow)


@pytest.mark.parametrize("form", ["gram", "direct"])
def test_scales_of_the_tasks(form: Any) -> None:
    found = scene(tasks=4, form=form, beta=1.0)
    then = targets(found)
    found.move()
    each = slow_distances(found.written([0, 1, 2]), then)
    expected = (3 * each[0] + 0.5 * each[1] + each[2]) / 3
    torch.testing.assert_close(value_of(found, (0, 1, 2), scales=(3.0, 0.5)), expected)
    torch.testing.assert_close(value_of(found, (1, 2), scales=(3.0, 0.5)), (0.5 * each[1] + each[2]) / 2)


@pytest.mark.parametrize("form", ["gram", "direct"])
@pytest.mark.parametrize("masked", [True, False])
def test_rows_of_other_heads_do_not_count(form: Any, masked: bool) -> None:
    """Task t of three uses rows 2t and 2t + 1 of a head with six outputs."""
    found = scene(weights=SLICED, form=form, beta=1.0, mask_heads=masked)
    then = targets(found)
    found.move()
    now = found.written([0, 1])
    total = []
    for task in (0, 1):
        own = slice(2 * task, 2 * task + 2) if masked else slice(0, 6)
        cut = [
            {n: v[own] if n.startswith("head.") else v for n, v in side[task].items()} for side in (now, then)
        ]
        total.append(slow_distances([cut[0]], [cut[1]])[0])
    torch.testing.assert_close(value_of(found), torch.stack(total).mean())


@pytest.mark.parametrize("form", ["gram", "direct"])
def test_masked_rows_get_a_gradient_of_exactly_zero(form: Any) -> None:
    found = scene(weights=SLICED, form=form, tasks=2).move()
    written = found.written([0])[0]
    last = found.net.gradients(value_of(found, (0,)))["generator.out.weight"]
    names = list(written)
    start = sum(written[n].numel() for n in names[: names.index("head.weight")])
    # One row of the map for each number that is written; the head's weight is (4, 8).
    rows = last[start : start + 32].view(4, 8, -1)
    assert bool(rows[:2].any())
    assert not bool(rows[2:].any())


def test_fisher_weighs_each_difference() -> None:
    found = scene(fisher=True, fisher_samples=8, beta=1.0)
    state = found.state.penalties[0]
    assert state.form == "direct"
    assert state.fisher is not None
    assert all(len(value) == 2 for value in state.fisher.values())
    then = targets(found)
    found.move()
    now = found.written([0, 1])
    total = torch.zeros((), dtype=torch.float64)
    for task in (0, 1):
        for name, value in now[task].items():
            total = total + (state.fisher[name][task] * (value - then[task][name]).square()).sum() / 2
    torch.testing.assert_close(value_of(found), total)


def test_fisher_information_sample_by_sample() -> None:
    """Mean over samples of squared gradients of each one's loss, with respect to the task's weights."""
    found = scene(fisher=True, fisher_samples=1000, tasks=2)
    penalty, model = found.method.penalties[0], found.learner.model
    task = found.stream.tasks[1]
    state = penalty.end_task(DriftState(), found.learner, task, generator(0))
    assert state.fisher is not None
    total: Tensors = {}
    with evaluating(model):
        for i in range(len(task.train)):
            raw, y = task.train.batch(torch.tensor([i]))
            weights = {n: v.detach().requires_grad_() for n, v in model.overlay(1).items()}
            logits = model.call(weights, found.learner.preprocess(raw, None), 1)
            loss = F.cross_entropy(logits, found.learner.targets(y, 1))
            for name, g in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
                total[name] = total.get(name, 0) + g.square() / len(task.train)
    for name, value in total.items():
        torch.testing.assert_close(state.fisher[name][0], value)


@pytest.mark.parametrize(
    "weights", [Hyper(shared=("layer.*",)), of_kind("mask")], ids=["shared parameters", "masks"]
)
def test_fisher_is_a_constant_and_trains_beside_shared_values(weights: Weights) -> None:
    """No graph leads from it to the values that all tasks share, nor to those under the masks."""
    run = trained(Drift(beta=0.5, fisher=True, fisher_samples=8), weights)
    fisher = run.learner.state.penalties[0].fisher
    assert len(run.records.rows["task"]) == 3
    assert all(bool(value.any()) and not value.requires_grad for value in fisher.values())


def test_fisher_of_masks_is_brought_to_what_the_generator_writes() -> None:
    """(∂L/∂w · θ · ∂m/∂h)² with m = |tanh h|, sample by sample; ∂L/∂w at the masked weights w = θ ⊙ m."""
    found = scene(weights=of_kind("mask"), fisher=True, fisher_samples=1000, tasks=2)
    penalty, model = found.method.penalties[0], found.learner.model
    task = found.stream.tasks[1]
    state = penalty.end_task(DriftState(), found.learner, task, generator(0))
    assert state.fisher is not None and model.generator is not None
    h = {name: value[0].detach() for name, value in model.generator([1]).items()}
    slope = {n: v.sign() * (1 - v.tanh().square()) * model.target.get_parameter(n) for n, v in h.items()}
    total: Tensors = {name: torch.zeros_like(value) for name, value in h.items()}
    with evaluating(model):
        for i in range(len(task.train)):
            raw, y = task.train.batch(torch.tensor([i]))
            weights = {n: v.detach().requires_grad_() for n, v in model.overlay(1).items() if n in h}
            logits = model.call(weights, found.learner.preprocess(raw, None), 1)
            loss = F.cross_entropy(logits, found.learner.targets(y, 1))
            for name, g in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
                total[name] += (g * slope[name].detach()).square() / len(task.train)
    for name, value in total.items():
        torch.testing.assert_close(state.fisher[name][0], value)


def test_fisher_of_a_finished_task_stays() -> None:
    found = scene(fisher=True, fisher_samples=8, tasks=3)
    before = found.state.penalties[0].fisher
    after = found.method.end_task(found.state, found.learner, found.stream.tasks[2], generator(0))
    grown = after.penalties[0].fisher
    assert before is not None and grown is not None
    for name, value in before.items():
        assert torch.equal(grown[name][:2], value)
        assert len(grown[name]) == 3


# ------------------------------------------------------------------------------------------------- subsets of tasks


@pytest.mark.parametrize("form", ["gram", "direct"])
def test_a_subset_of_the_tasks(form: Any) -> None:
    found = scene(tasks=5, form=form, tasks_per_step=2, beta=1.0)
    then = targets(found)
    found.move()
    each = slow_distances(found.written(range(4)), then)
    torch.testing.assert_close(value_of(found, (1, 3)), (each[1] + each[3]) / 2)


def test_the_mean_over_many_subsets_is_the_whole() -> None:
    found = scene(tasks=5, tasks_per_step=2, beta=1.0).move()
    whole = value_of(found, (0, 1, 2, 3)).detach()
    rng = generator(0)
    draws = [found.method.penalties[0].draw(None, found.learner, found.batch, rng) for _ in range(600)]
    assert all(len(set(draw)) == 2 and list(draw) == sorted(draw) for draw in draws)
    assert {task for draw in draws for task in draw} == {0, 1, 2, 3}
    by_draw = {draw: float(value_of(found, draw).detach()) for draw in set(draws)}
    mean = sum(by_draw[draw] for draw in draws) / len(draws)
    spread = torch.tensor([by_draw[draw] for draw in draws]).std() / 600**0.5
    assert abs(mean - float(whole)) < 4 * float(spread)


@pytest.mark.parametrize("most", [None, 2, 7])
def test_all_tasks_where_they_are_few(most: int | None) -> None:
    found = scene(tasks=3, tasks_per_step=most)
    rng = generator(0)
    before = rng.get_state()
    assert found.method.penalties[0].draw(None, found.learner, found.batch, rng) == (0, 1)
    assert torch.equal(rng.get_state(), before)


# --------------------------------------------------------------------------------------------------- in training


def trained(drift: Drift | None, weights: Weights | None = None, optimizer: str = "adam") -> Fit:
    method = combine(Finetune(), drift) if drift else Finetune()
    options = OptimizerOptions(name=optimizer, lr=0.01)  # pyright: ignore[reportArgumentType]
    run = small.run(weights=weights or Hyper(), method=method, optimizer=options)
    small.all_of([run])
    return run


def learner_with(model: Model) -> Learner:
    """The learner of `small.split_stream()` in its last task, in training mode."""
    stream = small.split_stream()
    classes = tuple(task.classes for task in stream.tasks)
    model.train()
    return Learner({"main": model}, stream.preprocess, stream.shape, stream.num_classes, classes, task=2)


def assert_equal(a: Fit, b: Fit, rtol: float = 0.0) -> None:
    first, second = a.learner.model.stored(), b.learner.model.stored()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=rtol, atol=rtol)
    if rtol == 0:
        assert a.records.rows == b.records.rows


@pytest.mark.parametrize("ahead", ["none", "optimizer"])
def test_stored_and_recomputed_targets_train_alike(ahead: Any) -> None:
    """Bit for bit (von Oswald et al. report the same accuracy from both)."""
    options = Drift(beta=0.5, form="direct", look_ahead=ahead)
    assert_equal(trained(options), trained(replace(options, targets="recomputed")))


@pytest.mark.parametrize("kind", ["hyper", "partial", "mask", "lora"])
@pytest.mark.parametrize("ahead", ["none", "optimizer", "sgd"])
def test_both_forms_train_alike(kind: Any, ahead: Any) -> None:
    """But for rounding; with SGD, since Adam makes whole steps of the smallest gradients."""
    weights, options = of_kind(kind), Drift(beta=0.5, look_ahead=ahead)
    runs = [trained(replace(options, form=form), weights, "sgd") for form in ("gram", "direct")]
    assert [run.learner.state.penalties[0].form for run in runs] == ["gram", "direct"]
    assert_equal(runs[0], runs[1], rtol=1e-5)


def test_a_strong_penalty_keeps_the_old_outputs() -> None:
    def moved(beta: float) -> float:
        run = small.run(weights="hyper", method=combine(Finetune(), Drift(beta=beta)))
        first: Tensors = {}
        for event in run:
            if type(event).__name__ == "TaskEnded" and not first:
                first = {n: v.detach().clone() for n, v in run.learner.model.overlay(0).items()}
        now = run.learner.model.overlay(0)
        return float(sum((now[n].detach() - v).square().sum() for n, v in first.items()))

    free, held = moved(0.0), moved(100.0)
    assert held < 0.1 * free


def test_old_rows_keep_their_values_unless_they_are_plastic() -> None:
    """Embeddings move under the penalty alone if asked to; rows stored for a task never move."""
    for plastic in (False, True):
        weights = Partial(plastic_embeddings=plastic, cut=None, tail_norm="instance")
        run = small.run(weights=weights, method=combine(Finetune(), Drift(beta=1.0)), net=small.conv)
        seen: list[Tensors] = []
        for event in run:
            if type(event).__name__ == "TaskEnded":
                seen.append({n: v.detach().clone() for n, v in run.learner.model.stored().items()})
        for name, value in seen[0].items():
            if name.startswith("rows.0."):
                assert torch.equal(seen[2][name], value), name
        moved = not torch.equal(seen[2]["generator.embeddings.0"], seen[0]["generator.embeddings.0"])
        assert moved == plastic


@pytest.mark.parametrize("form", ["gram", "direct"])
@pytest.mark.parametrize("targets_from", ["stored", "recomputed"])
def test_targets_are_written_without_dropout(form: Any, targets_from: Any) -> None:
    """In training mode too: the penalty of a generator that has not moved is 0 once its own pass drops nothing."""
    writer = DenseOptions(embedding=3, hidden=(40,), dropout=0.5, embedding_noise=0.1)
    model = small.grown(small.model(small.split_stream(), "hyper", writer=writer), 3)
    learner = learner_with(model)
    penalty = Drift(beta=1.0, form=form, targets=targets_from)
    state = penalty.begin_task(penalty.init(learner), learner)
    dropped = penalty.value(Net(model), state, (0, 1))
    model.eval()
    kept = penalty.value(Net(model), state, (0, 1))
    assert dropped is not None and kept is not None
    assert float(kept.detach()) == pytest.approx(0, abs=1e-9) and float(dropped.detach()) > 1e-3


def test_tasks_per_step_trains() -> None:
    run = trained(Drift(beta=0.5, tasks_per_step=1))
    assert len(run.records.rows["task"]) == 3


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"second_order": True}, "drift.second_order=true needs drift.look_ahead=optimizer or sgd"),
        ({"fisher": True, "form": "gram"}, "drift.fisher=true needs drift.form=direct or auto"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        Drift(**options)


def test_there_must_be_something_to_hold() -> None:
    text = "the drift penalty needs generated weights; leave it out with drift=none"
    with pytest.raises(HypermnesiaError, match=text):
        small.run(weights="plain", method=combine(Finetune(), Drift()))
    with pytest.raises(HypermnesiaError, match="unknown model to hold 'other'; known: main"):
        small.run(weights="hyper", method=combine(Finetune(), Drift(holds="other")))


@pytest.mark.parametrize("form", ["gram", "direct"])
def test_autocast_rounds_neither_the_generator_nor_the_penalty(form: str) -> None:
    """Under bf16 the penalty at the snapshot is exactly 0, as in full precision."""
    stream = load("split-digits", options=StreamOptions(samples_per_task=16))
    model = model_for(stream, lambda outputs: nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)), "hyper")
    method = combine(Finetune(), Drift(beta=1.0, form=form))
    run = Fit(model, stream, method, TrainOptions(iterations=1, precision="bf16"))
    steps = [event for event in run if isinstance(event, StepDone)]
    assert len(steps) == 5
    assert [float(step.terms["drift"]) for step in steps[1:]] == [0.0] * 4
