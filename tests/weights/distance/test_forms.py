"""Both forms of the drift against a loop over tasks and tensors, in value and gradient."""

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.core.tensors import Tensors, copy
from hypermnesia.weights.distance import forms
from hypermnesia.weights.hypernets.base import Generator
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor, OuterFactor, assemble, take

TASKS = (0, 1, 2)
UNITS = ((0, 1), (2, 3), (1, 4))
"""Output units of the head that each task uses; unit 5 is used by none."""


def moved(generator: Generator, by: float = 0.1, seed: int = 1) -> Tensors:
    """Parameters some way off the generator's own."""
    rng = rng_of(seed, "moved")
    return {
        name: (value.detach() + by * torch.randn(value.shape, generator=rng).to(value)).requires_grad_()
        for name, value in generator.named_parameters()
    }


def tensors_at(generator: Generator, params: Tensors, tasks=TASKS) -> Tensors:
    return functional_call(generator, params, (tasks,))


def gram_at(generator: Generator, params: Tensors, anchor: Tensors, tasks=TASKS, rows=None) -> Tensor:
    """The Gram form task by task."""
    return each(functional_call(generator, params, (tasks, True)), anchor, len(tasks), rows)


def each(factors: list[Factor], anchor: Tensors, tasks: int, rows=None) -> Tensor:
    one_hot = torch.eye(tasks, dtype=anchor["0.weight" if "0.weight" in anchor else "0.u"].dtype)
    return torch.stack([forms.gram(factors, anchor, rows, weights) for weights in one_hot])


def loop(now: Tensors, then: Tensors, masks: Tensors | None = None, fisher: Tensors | None = None) -> Tensor:
    """The definition: task by task, tensor by tensor, unit by unit."""
    distances = []
    for task in range(len(next(iter(now.values())))):
        total = torch.zeros((), dtype=torch.float64)
        for name in now:
            change = (now[name][task] - then[name][task]).reshape(-1)
            weights = fisher[name][task].reshape(-1) if fisher else torch.ones_like(change)
            units = masks[name][task] if masks and name in masks else torch.ones(1, dtype=torch.bool)
            each = (weights * change**2).chunk(len(units))
            total = total + sum(part.sum() for part, used in zip(each, units, strict=True) if used)
        distances.append(total)
    return torch.stack(distances)


def assert_same(a: Tensor, b: Tensor, params: Tensors, tolerance: float) -> None:
    """Equal values, and equal gradients of an unequally weighted mean."""
    torch.testing.assert_close(a, b, rtol=tolerance, atol=0)
    weights = torch.linspace(0.5, 2, len(a)).to(a)
    at = list(params.values())
    for name, x, y in zip(
        params, *(_gradients((value * weights).mean(), at) for value in (a, b)), strict=True
    ):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * float(y.norm()), msg=name)


def _gradients(value: Tensor, at: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(value, at, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(at, found, strict=True)]


def head_masks(generator: Generator) -> Tensors:
    names = [name for name in generator.shapes if name.startswith("head.")]
    return forms.unit_masks(UNITS, names, generator.shapes)


def test_both_forms_equal_the_loop(case):
    generator = case.build()
    anchor = forms.snapshot(generator(TASKS, factored=True))
    then, params = copy(generator(TASKS)), moved(generator)
    now = tensors_at(generator, params)
    slow = loop(now, then)
    assert slow.min() > 0
    assert_same(forms.direct(now, then), slow, params, 1e-10)
    assert_same(gram_at(generator, params, anchor), slow, params, 1e-10)


def test_both_forms_agree_in_single_precision(case):
    generator = case.build(dtype=torch.float32)
    anchor = forms.snapshot(generator(TASKS, factored=True))
    then, params = copy(generator(TASKS)), moved(generator)
    now = tensors_at(generator, params)
    assert_same(gram_at(generator, params, anchor), forms.direct(now, then), params, 1e-5)


def test_both_forms_and_their_gradients_are_zero_at_the_snapshot(case):
    generator = case.build(dtype=torch.float32)
    anchor = forms.snapshot(generator(TASKS, factored=True), head_masks(generator))
    then, params = copy(generator(TASKS)), dict(generator.named_parameters())
    for values in (gram_at(generator, params, anchor), forms.direct(tensors_at(generator, params), then)):
        assert torch.equal(values, torch.zeros(3))
        gradients = _gradients(values.sum(), list(params.values()))
        assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_masks_drop_the_other_heads(case):
    generator = case.build()
    masks = head_masks(generator)
    anchor = forms.snapshot(generator(TASKS, factored=True), masks)
    then, params = copy(generator(TASKS)), moved(generator)
    now = tensors_at(generator, params)
    slow = loop(now, then, masks)
    assert (slow < loop(now, then)).all()
    assert_same(forms.direct(now, then, masks), slow, params, 1e-10)
    assert_same(gram_at(generator, params, anchor), slow, params, 1e-10)


def test_what_every_mask_drops_gets_no_gradient_at_all(cases):
    """Not even one of rounding error, which Adam would blow up to a full step."""
    generator = cases["dense"].build(dtype=torch.float32)
    anchor = forms.snapshot(generator(TASKS, factored=True), head_masks(generator))
    params = moved(generator)
    gram_at(generator, params, anchor).sum().backward()
    gradient = params["out.weight"].grad
    assert gradient is not None
    untouched = (gradient == 0).all(1).nonzero().flatten()
    end = generator.out.weight.shape[0]
    head = range(end - 6 - 54 + 5 * 9, end - 6)
    assert untouched.tolist() == [*head, end - 1]


def test_a_mask_of_everything_leaves_nothing(cases):
    generator = cases["dense"].build(tasks=1)
    shapes = generator.shapes
    masks = {name: torch.zeros(1, shape[0], dtype=torch.bool) for name, shape in shapes.items() if shape}
    anchor = forms.snapshot(generator([0], factored=True), masks)
    params = moved(generator)
    left = (tensors_at(generator, params, [0])["scale"] - generator([0])["scale"]).square()
    torch.testing.assert_close(gram_at(generator, params, anchor, [0]), left)


def test_fisher_weighs_every_entry(cases):
    generator = cases["chunked"].build()
    then, params = copy(generator(TASKS)), moved(generator)
    now = tensors_at(generator, params)
    rng = rng_of(3, "fisher")
    fisher = {name: torch.rand(value.shape, generator=rng).double() for name, value in then.items()}
    masks = head_masks(generator)
    assert_same(forms.direct(now, then, masks, fisher), loop(now, then, masks, fisher), params, 1e-10)


def test_look_ahead_evaluates_at_shifted_parameters(case):
    """θ + Δθ(θ), differentiated with respect to θ through the shift."""
    generator = case.build()
    anchor = forms.snapshot(generator(TASKS, factored=True))
    then, params = copy(generator(TASKS)), moved(generator)
    ahead = {name: value - 0.1 * torch.tanh(value) for name, value in params.items()}
    slow = loop(tensors_at(generator, ahead), then)
    assert_same(gram_at(generator, ahead, anchor), slow, params, 1e-10)


def test_some_tasks_of_the_snapshot(case):
    generator = case.build(tasks=4)
    masks = forms.unit_masks((*UNITS, (0, 5)), ["head.weight"], generator.shapes)
    anchor = forms.snapshot(generator(range(4), factored=True), masks)
    params = moved(generator)
    everything = gram_at(generator, params, anchor, range(4))
    some = gram_at(generator, params, anchor, [3, 1], torch.tensor([3, 1]))
    torch.testing.assert_close(some, everything[[3, 1]])
    torch.testing.assert_close(gram_at(generator, params, anchor, [1, 2], slice(1, 3)), everything[1:3])
    pairs = [
        gram_at(generator, params, anchor, list(pair), torch.tensor(pair)).mean()
        for pair in combinations(range(4), 2)
    ]
    torch.testing.assert_close(torch.stack(pairs).mean(), everything.mean())


def test_one_pass_serves_the_current_task_and_earlier_ones(case):
    generator = case.build(tasks=3)
    earlier = slice(0, 2)
    anchor = forms.snapshot(take(generator(TASKS, factored=True), earlier))
    params = moved(generator)
    factors = functional_call(generator, params, (TASKS, True))
    current = assemble(take(factors, slice(2, 3)))
    for name, value in tensors_at(generator, params, [2]).items():
        torch.testing.assert_close(current[name], value)
    expected = gram_at(generator, params, forms.snapshot(generator([0, 1], factored=True)), [0, 1])
    torch.testing.assert_close(forms.gram(take(factors, earlier), anchor), expected.sum())


def test_small_changes_keep_their_digits(cases):
    """At changes of 1e-6, ‖h‖² and ‖h*‖² agree in all digits of single precision; what errs here is the
    trunk."""
    generator = cases["chunked"].build(dtype=torch.float32)
    anchor = forms.snapshot(generator(TASKS, factored=True))
    params = moved(generator, by=1e-6)
    value = gram_at(generator, params, anchor)
    then = tensors_at(generator, {n: p.detach().double() for n, p in generator.named_parameters()})
    exact = forms.direct(tensors_at(generator, {n: p.detach().double() for n, p in params.items()}), then)
    torch.testing.assert_close(value.double(), exact, rtol=1e-2, atol=0)


def test_lower_precision_of_the_long_products(case):
    generator = case.build(dtype=torch.float32)
    anchor = forms.snapshot(generator(TASKS, factored=True), head_masks(generator), dtype=torch.bfloat16)
    params = moved(generator)
    exact = forms.snapshot(generator(TASKS, factored=True), head_masks(generator))
    rounded = gram_at(generator, params, anchor)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, gram_at(generator, params, exact), rtol=2e-2, atol=0)


def test_second_derivatives(cases):
    generator = cases["chunked"].build()
    anchor = forms.snapshot(generator(TASKS, factored=True))
    then, params = copy(generator(TASKS)), moved(generator)

    def curvature(value: Tensor) -> list[Tensor]:
        slopes = torch.autograd.grad(value.sum(), list(params.values()), create_graph=True)
        return list(torch.autograd.grad(sum(s.pow(2).sum() for s in slopes), list(params.values())))

    fast = curvature(gram_at(generator, params, anchor))
    for a, b in zip(fast, curvature(loop(tensors_at(generator, params), then)), strict=True):
        torch.testing.assert_close(a, b)


def stacked(case) -> tuple[Generator, Tensors, Tensors]:
    """A generator, the parameters of two seeds, and their snapshots."""
    seeds = [case.build(seed=seed) for seed in (0, 1)]
    params = [moved(generator, seed=seed) for seed, generator in enumerate(seeds)]
    anchors = [forms.snapshot(g(TASKS, factored=True), head_masks(g)) for g in seeds]
    both = [
        {name: torch.stack([a[name].detach(), b[name].detach()]) for name in a} for a, b in (params, anchors)
    ]
    return seeds[0], both[0], both[1]


def test_seeds_stack(case):
    generator, params, anchors = stacked(case)
    rows = torch.tensor([[2, 0], [1, 2]])

    def loss(params: Tensors, anchor: Tensors, rows: Tensor) -> Tensor:
        return gram_at(generator, params, anchor, rows, rows).sum()

    found = vmap(grad(loss))(params, anchors, rows)
    for seed in range(2):
        alone = [{name: value[seed] for name, value in both.items()} for both in (params, anchors)]
        expected = grad(loss)(*alone, rows[seed])
        for name, value in expected.items():
            torch.testing.assert_close(found[name][seed], value)


def test_choice_by_count(cases):
    def factor(tasks: int, rows: int, outputs: int, width: int) -> LinearFactor:
        inputs, weight = (
            torch.empty(tasks, rows, width, device="meta"),
            torch.empty(outputs, width, device="meta"),
        )
        return LinearFactor(inputs, weight, {"all": torch.Size((rows * outputs,))})

    assert forms.choose([factor(9, 28, 78000, 26)]) == "gram"
    assert forms.choose([factor(1, 28, 78000, 26)]) == "direct"
    assert forms.choose([factor(19, 1, 805, 33)]) == "direct"
    assert forms.choose([factor(53, 1, 78000, 26)]) == "gram"
    # Short factors gain nothing, even with many rows: the d × d products would cost as much.
    assert forms.choose([factor(100, 100, 60, 26)]) == "direct"
    u, v = torch.empty(1, 1, 100, 4, device="meta"), torch.empty(1, 1, 200, 4, device="meta")
    assert forms.choose([OuterFactor(u, v, {"all": torch.Size((100, 200))})]) == "gram"


def test_mismatches_are_told(cases):
    generator = cases["dense"].build()
    factors = generator(TASKS, factored=True)
    anchor = forms.snapshot(factors)
    with pytest.raises(
        HypermnesiaError, match=r"inputs of shape \(2, 1, 5\), the snapshot's have \(3, 1, 5\).*pass `tasks`"
    ):
        forms.gram(generator([0, 1], factored=True), anchor)
    with pytest.raises(HypermnesiaError, match=r"the snapshot's have none"):
        forms.gram(cases["low-rank"].build()(TASKS, factored=True), anchor)
    with pytest.raises(
        HypermnesiaError, match=r"'conv.weight': \(2, 4, 2, 3, 3\) now and \(3, 4, 2, 3, 3\) then"
    ):
        forms.direct(generator([0, 1]), generator(TASKS))
    with pytest.raises(
        HypermnesiaError, match="mask for 'tail', which is not written; there are: conv.weight, conv.bias"
    ):
        forms.snapshot(factors, {"tail": torch.ones(3, 6)})
    with pytest.raises(
        HypermnesiaError, match=r"mask of 'head.bias' has shape \(2, 6\), expected .* \(3, 6\)"
    ):
        forms.snapshot(factors, {"head.bias": torch.ones(2, 6)})
    with pytest.raises(HypermnesiaError, match="task 1 uses unit 6, but 'head.bias' has 6 units"):
        forms.unit_masks([[0], [6]], ["head.bias"], generator.shapes)
    with pytest.raises(HypermnesiaError, match="no tensor 'tail'; there are: conv.weight"):
        forms.unit_masks([[0]], ["tail"], generator.shapes)
