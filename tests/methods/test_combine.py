"""What a loss sees, and methods joined by penalties: values, gradients, look-ahead."""

from dataclasses import replace
from typing import Any

import penalties
import pytest
import small
import torch
from penalties import scene, slow_distances, step_of
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.agem import AGEM
from hypermnesia.methods.base import Method
from hypermnesia.methods.combine import Combined, CombinedState, combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Learner, Net, Phase, Step
from hypermnesia.methods.penalties.anchor import Anchor
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.penalties.si import SI
from hypermnesia.weights import Head
from hypermnesia.weights.options import Mask, Plain

SGD = OptimizerOptions(name="sgd", lr=0.05)
ADAM = OptimizerOptions(name="adam", lr=0.02, weight_decay=0.1)


def no_candidate(gradients: Any, plain: bool = False) -> Tensors:
    if plain:
        return {name: -1e-3 * g for name, g in gradients.items()}
    raise AssertionError("nothing here looks ahead")


# -------------------------------------------------------------------------------------------------------------- net


def test_a_bound_net_is_the_model_at_those_values() -> None:
    model = small.grown(small.model(small.split_stream(), "hyper"), 2)
    x = torch.rand(3, *small.SHAPE)
    free = Net(model)
    moved = {name: p.detach() + 0.1 for name, p in free.params.items()}
    bound = free.at(moved)
    expected = bound(x, 1)
    assert not torch.allclose(expected, free(x, 1))
    written = bound.generate([0, 1])
    with torch.no_grad():
        for name, p in free.params.items():
            p.copy_(moved[name])
    torch.testing.assert_close(free(x, 1), expected)
    torch.testing.assert_close(free.generate([0, 1]), written)


def test_names_that_are_not_given_keep_their_values() -> None:
    model = small.grown(small.model(small.split_stream()), 1)
    net = Net(model)
    moved = net.at({"target.head.bias": torch.ones(6)})
    x = torch.rand(3, *small.SHAPE)
    bias = dict(model.target.named_parameters())["head.bias"]
    torch.testing.assert_close(moved(x, 0), net(x, 0) + 1 - bias)
    assert set(moved.params) == set(net.params)


def test_gradients_leave_out_what_the_loss_does_not_reach() -> None:
    model = small.grown(small.model(small.split_stream()), 1)
    found = Net(model).gradients(dict(model.named_parameters())["target.head.bias"].sum())
    assert list(found) == ["target.head.bias"]


@pytest.mark.parametrize("kind", ["plain", "hyper"])
def test_features_are_what_the_classifier_sees(kind: Any) -> None:
    model = small.grown(small.model(small.split_stream(), kind), 2)
    net, x = Net(model), torch.rand(3, *small.SHAPE)
    features, logits = net.features(x, 1)
    torch.testing.assert_close(logits, net(x, 1))
    state = model.task_state(1)
    torch.testing.assert_close(features @ state["head.weight"].T + state["head.bias"], logits)
    hooks = model.target.get_submodule("head")._forward_pre_hooks
    assert not hooks


def test_a_learner_knows_the_classes_so_far() -> None:
    model = small.model(small.split_stream())
    learner = Learner(
        {"main": model}, small.split_stream().preprocess, small.SHAPE, 6, ((4, 1), (1, 2), (0,))
    )
    assert learner.seen_classes == ()
    learner.task = 1
    assert learner.seen_classes == (4, 1, 2)


# ---------------------------------------------------------------------------------------------------------- combine


def test_a_method_without_penalties_is_itself() -> None:
    method = Finetune()
    assert combine(method) is method


def test_values_add_up() -> None:
    found = scene().move()
    task, _ = found.method.method.loss(found.net, None, found.batch, None)
    penalty = found.method.penalties[0].value(found.net, found.state.penalties[0], (0, 1))
    assert penalty is not None
    total, aux = found.method.loss(found.net, found.state, found.batch, found.draw())
    torch.testing.assert_close(total, task + penalty)
    assert set(aux.terms) == {"cross_entropy", "drift"}
    torch.testing.assert_close(torch.stack(list(aux.terms.values())).sum(), total)
    assert aux.logits is not None


def test_gradients_are_those_of_the_sum() -> None:
    found = scene().move()
    value, _ = found.method.loss(found.net, found.state, found.batch, found.draw())
    expected = found.net.gradients(value)
    gradients, loss, _ = found.method.gradients(
        found.net, found.state, found.batch, found.draw(), no_candidate
    )
    torch.testing.assert_close(gradients, expected)
    torch.testing.assert_close(loss, value)
    assert not loss.requires_grad


def test_two_penalties() -> None:
    mask = Mask()
    found = scene(Drift(beta=0.3), Anchor(strength=0.2), weights=mask).move()
    _, aux = found.method.loss(found.net, found.state, found.batch, found.draw())
    assert set(aux.terms) == {"cross_entropy", "drift", "anchor"}
    ahead = scene(Drift(beta=0.3, look_ahead="sgd"), Anchor(strength=0.2), weights=mask).move()
    gradients, total, terms = ahead.method.gradients(
        ahead.net, ahead.state, ahead.batch, ahead.draw(), no_candidate
    )
    torch.testing.assert_close(torch.stack(list(terms.terms.values())).sum(), total)
    anchor = ahead.method.penalties[1].value(ahead.net, ahead.state.penalties[1], None)
    assert anchor is not None
    torch.testing.assert_close(terms.terms["anchor"], anchor.detach())
    assert all(bool(torch.isfinite(g).all()) for g in gradients.values())


@pytest.mark.parametrize("form", ["gram", "direct"])
def test_at_the_start_of_a_task_there_is_nothing_to_hold(form: Any) -> None:
    """Value and gradient are 0 but for the rounding of another batch size, so the first step is the method's own (von
    Oswald et al.)."""
    found = scene(form=form)
    value = found.method.penalties[0].value(found.net, found.state.penalties[0], (0, 1))
    assert value is not None
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-28)
    assert all(float(g.abs().max()) < 1e-13 for g in found.net.gradients(value).values())
    gradients, _, _ = found.method.gradients(found.net, found.state, found.batch, found.draw(), no_candidate)
    for name, g in found.task_gradient().items():
        torch.testing.assert_close(gradients[name], g, rtol=1e-12, atol=1e-14)


def test_in_the_first_task_there_is_no_penalty() -> None:
    found = scene(tasks=1)
    _, aux = found.method.loss(found.net, found.state, found.batch, found.draw())
    assert set(aux.terms) == {"cross_entropy"}


# ------------------------------------------------------------------------------------------------------- look-ahead


@pytest.mark.parametrize("form", ["gram", "direct"])
@pytest.mark.parametrize("ahead", ["sgd", "optimizer"])
def test_a_look_ahead_feels_the_penalty_at_once(form: Any, ahead: Any) -> None:
    found = scene(form=form, look_ahead=ahead)
    candidate, _ = step_of(found, SGD)
    _, total, aux = found.method.gradients(found.net, found.state, found.batch, found.draw(), candidate)
    assert float(aux.terms["drift"]) > 0
    torch.testing.assert_close(total, aux.terms["cross_entropy"] + aux.terms["drift"])


@pytest.mark.parametrize("form", ["gram", "direct"])
@pytest.mark.parametrize(("ahead", "options"), [("sgd", SGD), ("optimizer", SGD), ("optimizer", ADAM)])
def test_first_order_is_the_gradient_at_the_shifted_point(
    form: Any, ahead: Any, options: OptimizerOptions
) -> None:
    """g = ∇L(θ) + ∇R(θ + Δθ): Δθ is the step that the optimizer really makes, or plain SGD's."""
    found = scene(form=form, look_ahead=ahead, look_ahead_lr=0.07).move(0.05)
    candidate, change = step_of(found, options)
    gradient = found.task_gradient()
    if ahead == "sgd":
        change = {name: -0.07 * g for name, g in gradient.items()}
    gradients, _, aux = found.method.gradients(found.net, found.state, found.batch, found.draw(), candidate)
    shifted = {name: found.net.params[name].detach() + d for name, d in change.items()}
    leaves = {name: value.requires_grad_() for name, value in shifted.items()}
    state = found.state.penalties[0]
    value = found.method.penalties[0].value(found.net.at(leaves), state, (0, 1))
    assert value is not None
    torch.testing.assert_close(aux.terms["drift"], value.detach(), rtol=1e-6, atol=0)
    held = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    for name, g in zip(leaves, held, strict=True):
        expected = gradient[name] + (0 if g is None else g)
        torch.testing.assert_close(gradients[name], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", ["gram", "direct"])
@pytest.mark.parametrize(("ahead", "options"), [("sgd", SGD), ("optimizer", SGD), ("optimizer", ADAM)])
def test_second_order_is_the_slope_of_the_whole(form: Any, ahead: Any, options: OptimizerOptions) -> None:
    """g is the gradient of θ ↦ L(θ) + R(θ + Δθ(∇L(θ))), by central differences."""
    found = scene(form=form, look_ahead=ahead, look_ahead_lr=0.3, second_order=True).move(0.05)
    candidate, _ = step_of(found, replace(options, weight_decay=0.0))
    gradients, _, _ = found.method.gradients(found.net, found.state, found.batch, found.draw(), candidate)
    params, size = found.net.params, 1e-5

    def whole(name: str, place: int, step: float) -> float:
        with torch.no_grad():
            params[name].view(-1)[place] += step
        task, _ = found.method.method.loss(found.net, None, found.batch, None)
        g = found.net.gradients(task)
        change = {n: -0.3 * v for n, v in g.items()} if ahead == "sgd" else candidate(g)
        moved = found.net.at({n: params[n].detach() + d for n, d in change.items()})
        held = found.method.penalties[0].value(moved, found.state.penalties[0], (0, 1))
        assert held is not None
        with torch.no_grad():
            params[name].view(-1)[place] -= step
        return float((task + held).detach())

    for name, p in params.items():
        for seed in range(3):
            place = int(torch.randint(p.numel(), (1,), generator=generator(seed, name)))
            slope = (whole(name, place, size) - whole(name, place, -size)) / (2 * size)
            assert float(gradients[name].view(-1)[place]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("options", [SGD, ADAM])
def test_a_plain_look_ahead_takes_the_optimizers_rate_unless_it_is_told_one(
    options: OptimizerOptions,
) -> None:
    def gradients(lr: float | None) -> dict[str, torch.Tensor]:
        found = scene(look_ahead="sgd", look_ahead_lr=lr).move(0.05)
        candidate, _ = step_of(found, replace(options, lr=0.25))
        return dict(found.method.gradients(found.net, found.state, found.batch, found.draw(), candidate)[0])

    own, same, other = gradients(None), gradients(0.25), gradients(0.125)
    for name, g in own.items():
        torch.testing.assert_close(g, same[name], rtol=1e-12, atol=0)
    assert any(not torch.allclose(own[name], other[name]) for name in own)


def test_second_order_differs_from_first() -> None:
    found = [
        scene(look_ahead="sgd", look_ahead_lr=0.3, second_order=order).move(0.05) for order in (False, True)
    ]
    first, second = (f.method.gradients(f.net, f.state, f.batch, f.draw(), no_candidate)[0] for f in found)
    assert any(not torch.allclose(first[name], second[name]) for name in first)
    assert not any(g.requires_grad for g in second.values())


def test_a_look_ahead_of_second_order_needs_the_loss_itself() -> None:
    text = "a look-ahead of second order differentiates the loss twice, and AGEM changes gradients after the fact"
    with pytest.raises(HypermnesiaError, match=text):
        combine(AGEM(), Drift(look_ahead="sgd", second_order=True))
    assert combine(AGEM(), Drift(look_ahead="sgd")).custom_gradients


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ((Drift(), Finetune()), "Drift, Finetune"),
        ((Finetune, Drift()), "Finetune, Drift"),
        ((Finetune(), AGEM()), "Finetune, AGEM"),
    ],
)
def test_combine_says_what_goes_where(parts: tuple, named: str) -> None:
    with pytest.raises(
        HypermnesiaError, match=rf"^combine\({named}\): expected a method and then penalties, made by"
    ):
        combine(*parts)


def test_a_method_with_gradients_of_its_own_keeps_them() -> None:
    """What the penalty adds comes on top of what A-GEM and the like make of theirs."""

    class Halved(Finetune):
        def gradients(self, net: Net, state: Any, batch: Any, draw: Any, candidate: Any) -> Any:
            found, value, aux = Method.gradients(self, net, state, batch, draw, candidate)
            return {name: g / 2 for name, g in found.items()}, value, aux

    found = scene().move()
    halved = Combined(Halved(), found.method.penalties)
    ahead = halved.gradients(found.net, found.state, found.batch, found.draw(), no_candidate)[0]
    penalty = found.method.penalties[0].value(found.net, found.state.penalties[0], (0, 1))
    assert penalty is not None
    held = found.net.gradients(penalty)
    for name, g in found.task_gradient().items():
        torch.testing.assert_close(ahead[name], g / 2 + held.get(name, 0))


# -------------------------------------------------------------------------------------------- what combine passes on


class Recording(Method):
    """Notes what it is asked for."""

    watches_parameters = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in ("begin_task", "phases", "draw", "after_step", "end_task", "scores", "extra_models"):
            object.__getattribute__(self, "asked").append(name)
        return object.__getattribute__(self, name)

    def phases(self, learner: Learner) -> Any:
        return Phase(), Phase("study", data=lambda state, learner: state)


def test_everything_of_the_method_is_passed_on() -> None:
    found, own = scene(), Recording()
    both = Combined(own, found.method.penalties)
    state, learner, rng = replace(found.state, method="own"), found.learner, generator(0)
    assert both.watches_parameters
    assert both.extra_models(found.stream, 0) == {}
    train, study = both.phases(learner)
    assert train == Phase() and study.data is not None
    assert study.data(state, learner) == "own"
    assert both.begin_task(state, learner).method == "own"
    assert both.scores(state, learner, found.batch.x, 0) is None
    draw = both.draw(state, learner, found.batch, rng)
    after = both.after_step(state, learner, Step(found.batch, draw), rng)
    assert isinstance(after, CombinedState)
    assert after.penalties == state.penalties
    both.end_task(state, learner, found.stream.tasks[2], rng)
    assert set(own.asked) == {
        "begin_task",
        "phases",
        "draw",
        "after_step",
        "end_task",
        "scores",
        "extra_models",
    }


def test_flags() -> None:
    plain, ahead = combine(Finetune(), Drift()), combine(Finetune(), Drift(look_ahead="sgd"))
    assert plain.needs_boundaries and not plain.custom_gradients and not plain.watches_parameters
    assert ahead.custom_gradients
    assert combine(Finetune(), SI(), Drift()).watches_parameters


def test_a_penalty_takes_part_in_the_phases_of_its_model_only() -> None:
    found = scene().move()
    found.learner.phase = Phase(model="other")
    own, drawn = found.draw()
    assert (own, drawn) == (None, {})
    total, aux = found.method.loss(found.net, found.state, found.batch, (own, drawn))
    assert set(aux.terms) == {"cross_entropy"}
    torch.testing.assert_close(total, aux.terms["cross_entropy"])


def test_the_penalty_is_the_mean_distance_of_the_earlier_tasks() -> None:
    found = scene(beta=1.0)
    then = [{n: v.detach() for n, v in task.items()} for task in found.written([0, 1])]
    found.move()
    value = found.method.penalties[0].value(found.net, found.state.penalties[0], (0, 1))
    torch.testing.assert_close(value, slow_distances(found.written([0, 1]), then).mean())


def test_targets_of_a_learner() -> None:
    model = small.model(small.split_stream(), Plain(head="per_task"))
    assert model.head == Head("per_task", ((0, 1), (2, 3), (4, 5)), 6)
    learner = penalties.scene().learner
    found: Tensor = replace(learner, models={"main": model}).targets(torch.tensor([3, 2]), 1)
    assert found.tolist() == [1, 0]


def test_whatever_a_method_says_is_asked_of_it() -> None:
    """But for drawing together, which a stack of runs with penalties does one by one, and for what it checks itself."""
    own = {name for name in vars(Method) if not name.startswith("_")}
    assert own - {name for name in vars(Combined) if not name.startswith("_")} == {
        "needs_boundaries",
        "fills_at_task_end",
        "policies",
        "draw_together",
    }
