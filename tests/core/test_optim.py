"""Optimizers from options: the look-ahead candidate against the optimizers' own steps."""

import copy
from functools import partial

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.lookahead import candidate
from hypermnesia.core.optim import OptimizerOptions, advance, build, carry_over, options_of, set_progress

CASES = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.9},
    {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"name": "adam"},
    {"name": "adam", "weight_decay": 0.5},
    {"name": "adamw", "weight_decay": 0.5, "betas": (0.5, 0.99)},
    {"name": "rmsprop", "weight_decay": 0.1},
    {"name": "rmsprop", "momentum": 0.9},
]


def parameters() -> dict[str, torch.nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    shapes = {"generator.out.weight": (3, 4), "generator.embeddings.0": (5,), "target.bias": (2,)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=rng)) for name, shape in shapes.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()))
def test_the_candidate_is_the_optimizers_own_step(case: dict) -> None:
    own = parameters()
    optimizer = build(OptimizerOptions(lr=0.05, embedding_lr=0.01, **case), own)
    rng = torch.Generator().manual_seed(1)
    for _ in range(4):
        gradients = {name: torch.randn(p.shape, generator=rng) for name, p in own.items()}
        before = {name: p.detach().clone() for name, p in own.items()}
        state = copy.deepcopy(optimizer.state_dict())
        expected = candidate(optimizer, gradients)
        assert str(optimizer.state_dict()) == str(state)
        for name, parameter in own.items():
            assert torch.equal(parameter, before[name])
            parameter.grad = gradients[name]
        optimizer.step()
        for name, parameter in own.items():
            torch.testing.assert_close(
                parameter.detach() - before[name], expected[name], atol=1e-6, rtol=1e-4
            )


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()))
def test_a_move_has_the_bits_of_the_optimizers_own(case: dict) -> None:
    sides = [parameters(), parameters()]
    ours, torchs = (build(OptimizerOptions(lr=0.05, embedding_lr=0.01, **case), own) for own in sides)
    rng = torch.Generator().manual_seed(1)
    for step in range(4):
        left = {"target.bias"} if step else set()
        gradients = {n: torch.randn(p.shape, generator=rng) for n, p in sides[0].items() if n not in left}
        advance(ours, gradients)
        for name, parameter in sides[1].items():
            parameter.grad = gradients.get(name)
        torchs.step()
        assert all(torch.equal(p, sides[1][n]) and p.grad is None for n, p in sides[0].items())
        assert str(ours.state_dict()) == str(torchs.state_dict())


def test_parameters_without_gradient_do_not_move() -> None:
    own = parameters()
    optimizer = build(OptimizerOptions(name="adam"), own)
    assert set(candidate(optimizer, {"target.bias": torch.ones(2)})) == {"target.bias"}


def test_the_candidate_carries_the_gradients_graph() -> None:
    own = parameters()
    optimizer = build(OptimizerOptions(name="adam"), own)
    x = torch.tensor(2.0, requires_grad=True)
    change = candidate(optimizer, {"target.bias": x * torch.tensor([1.0, -3.0])})["target.bias"]
    assert change.requires_grad


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()))
def test_numbers_that_never_had_a_gradient_do_not_break_the_graph(case: dict) -> None:
    """√0 has no derivative: Adam's step, differentiated there, would be NaN, and so would a look-ahead of second order."""
    own = parameters()
    optimizer = build(OptimizerOptions(lr=0.05, **case), own)
    x = torch.ones(2, requires_grad=True)
    gradient = x.square() * torch.tensor([1.0, 0.0])
    change = candidate(optimizer, {"target.bias": gradient})["target.bias"]
    (slope,) = torch.autograd.grad(change.sum(), x)
    assert bool(torch.isfinite(slope).all()) and slope[1] == 0


def test_embeddings_have_a_rate_of_their_own() -> None:
    optimizer = build(OptimizerOptions(lr=0.1, embedding_lr=0.01), parameters())
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates == {"generator.out.weight": 0.1, "target.bias": 0.1, "generator.embeddings.0": 0.01}


def test_state_is_carried_over_for_what_still_trains() -> None:
    own = parameters()
    options = OptimizerOptions(name="adam")
    old = build(options, own)
    for parameter in own.values():
        parameter.grad = torch.ones_like(parameter)
    old.step()
    kept = {name: own[name] for name in ("target.bias",)} | {"new": torch.nn.Parameter(torch.zeros(2))}
    new = build(options, kept)
    carry_over(old, new)
    assert torch.equal(new.state[own["target.bias"]]["exp_avg"], old.state[own["target.bias"]]["exp_avg"])
    assert kept["new"] not in new.state


def test_rows_join_as_those_of_one_table_would() -> None:
    """Twin: one parameter with a row per task, of which row t is 0 without a gradient until task t begins."""
    options = OptimizerOptions(name="adam", lr=0.1, reset="table")
    table = torch.nn.Parameter(torch.zeros(3, 2))
    whole = build(options, {"generator.embeddings": table})
    rows = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    optimizer: torch.optim.Optimizer | None = None
    rng = torch.Generator().manual_seed(0)
    for task in range(3):
        fresh = build(options, {f"generator.embeddings.{t}": rows[t] for t in range(task + 1)})
        if optimizer is not None:
            carry_over(optimizer, fresh, table=True)
        optimizer = fresh
        for _ in range(4):
            g = torch.randn(3, 2, generator=rng)
            g[task + 1 :] = 0
            table.grad = g
            for t in range(task + 1):
                rows[t].grad = g[t].clone()
            whole.step()
            optimizer.step()
        torch.testing.assert_close(torch.stack(list(rows)).detach(), table.detach())
    fresh = build(options, {"new": torch.nn.Parameter(torch.zeros(2))})
    carry_over(whole, fresh)
    assert not fresh.state  # reset=never: its count begins at 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (OptimizerOptions(lr=1.0), [1, 1, 1]),
        (OptimizerOptions(lr=1.0, schedule="cosine"), [1, 0.5, 0]),
        (OptimizerOptions(lr=1.0, schedule="steps", milestones=(0.25, 0.75), gamma=0.1), [1, 0.1, 0.01]),
    ],
)
def test_schedules(options: OptimizerOptions, expected: list[float]) -> None:
    optimizer = build(options, parameters())
    for progress, factor in zip((0.0, 0.5, 1.0), expected, strict=True):
        set_progress(optimizer, options, progress)
        assert all(group["lr"] == pytest.approx(factor) for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"nesterov": True}, "optimizer.nesterov=true needs optimizer.momentum above 0"),
        (
            {"name": "sgd", "reset": "table"},
            "optimizer.reset=table is about Adam's count of steps, which sgd does",
        ),
    ],
)
def test_bad_options(values: dict, text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        OptimizerOptions(**values)


def test_nothing_to_train() -> None:
    with pytest.raises(HypermnesiaError, match="nothing to train"):
        build(OptimizerOptions(), {})


def test_classes_of_torch_stand_for_their_defaults():
    assert options_of(None) == OptimizerOptions()
    assert options_of(torch.optim.SGD) == OptimizerOptions(name="sgd", lr=1e-3)
    assert options_of(torch.optim.AdamW) == OptimizerOptions(name="adamw", weight_decay=1e-2)
    given = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    assert options_of(given) == OptimizerOptions(name="sgd", lr=0.1, momentum=0.9)


def test_other_optimizers_are_told_what_to_write():
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    for given, said in [
        (torch.optim.LBFGS, "optimizer=LBFGS: expected OptimizerOptions"),
        (partial(torch.optim.Adam, amsgrad=True), "optimizer=Adam with amsgrad: expected OptimizerOptions"),
        ("sgd", "optimizer='sgd': expected OptimizerOptions"),
        (
            torch.optim.SGD(parameters, lr=0.1),
            r'models grow with each task: write OptimizerOptions\(name="sgd", lr=0.1\)',
        ),
    ]:
        with pytest.raises(HypermnesiaError, match=said):
            options_of(given)
