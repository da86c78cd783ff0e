"""The anchor against its formula: golden values of the reference, gradients, what its weightings protect."""

import pytest
import small
import torch
from methods.regularisation_helpers import (
    batch_of,
    bound,
    learner_on,
    make_task,
    move,
    moved,
    next_task,
    small_net,
)
from torch import Tensor

from hypermnesia.core import tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.penalties.anchor import Anchor, AnchorState
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.weights.compose import MaskOptions, SemiBinaryMask


def begun(anchor: Anchor, learner: Learner) -> AnchorState:
    return anchor.begin_task(anchor.init(learner), learner)


def value_and_gradients(anchor: Anchor, state: AnchorState, net: Net) -> tuple[Tensor, tensors.Tensors]:
    value = anchor.value(net, state, None)
    assert value is not None
    return value, net.gradients(value)


def masks_of(learner: Learner, task: int, net: Net | None = None) -> tensors.Tensors:
    """The masks of one task, written out: |tanh h|, thresholded by torch.quantile."""
    compose, written = learner.model.compose, (net or Net(learner.model)).generate([task])
    assert isinstance(written, dict)
    quantile = compose.options.sparsity / 100  # pyright: ignore[reportOptionalMemberAccess,reportAttributeAccessIssue]
    found = {}
    for name, h in written.items():
        a = h[0].tanh().abs()
        found[name] = torch.where(a >= torch.quantile(a.detach(), quantile), a, 0.0)
    return found


def test_golden_values_of_the_reference() -> None:
    learner = learner_on("mask", tasks=2)
    delta = {"head.weight": torch.tensor([[0.1, -0.2], [0.0, 0.3]]), "head.bias": torch.tensor([0.1])}
    mask = {"head.weight": torch.tensor([[0.5, 1.0], [1.0, 0.0]]), "head.bias": torch.tensor([0.4])}
    start = {name: torch.ones_like(value) for name, value in delta.items()}
    net = Net(learner.model, {"target." + name: start[name] + value for name, value in delta.items()})
    for masks, expected in (({}, 0.70), (mask, 0.29)):
        found = Anchor(strength=1.0).value(net, AnchorState(start, masks), None)
        assert found is not None
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("weighting", ["plain", "current", "current_detached", "earlier"])
def test_value_and_gradient_equal_the_formula_written_out(order: int, weighting: str) -> None:
    learner = learner_on("mask", tasks=2, mask=MaskOptions(sparsity=30))
    anchor = Anchor(strength=0.7, order=order, weighting=weighting)  # pyright: ignore[reportArgumentType]
    state = begun(anchor, learner)
    start = tensors.copy(dict(learner.model.target.named_parameters()))
    old_masks = {name: m.detach() for name, m in masks_of(learner, 0).items()}
    values = moved(learner)
    found = value_and_gradients(anchor, state, bound(learner, values))

    net = bound(learner, values)
    total = torch.zeros(())
    for name, before in start.items():
        difference = net.params["target." + name] - before
        if name == "head.bias" or weighting == "plain":  # the last bias has no mask
            weight = torch.ones_like(difference)
        elif weighting == "earlier":
            weight = old_masks[name]
        else:
            weight = masks_of(learner, 1, net)[name]
            weight = weight if weighting == "current" else weight.detach()
        for entry in (difference * weight).flatten():
            total = total + (entry.abs() if order == 1 else entry * entry)
    expected = 0.7 * total, net.gradients(0.7 * total)

    torch.testing.assert_close(found[0], expected[0])
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5)
    reaches_the_generator = any(name.startswith("generator.") for name in found[1])
    assert reaches_the_generator == (weighting == "current")


def test_earlier_masks_count_by_their_maximum() -> None:
    learner = learner_on("mask", tasks=3, mask=MaskOptions(sparsity=60))
    state = begun(Anchor(weighting="earlier"), learner)
    both = [masks_of(learner, task) for task in (0, 1)]
    for name, weight in state.masks.items():
        torch.testing.assert_close(weight, torch.maximum(both[0][name], both[1][name]))
    used_by_none = sum(int((weight == 0).sum()) for weight in state.masks.values())
    assert used_by_none > 0  # such weights may move freely


def test_nothing_is_pulled_at_the_start_of_a_task() -> None:
    learner = learner_on("mask", tasks=2)
    for order in (1, 2):
        anchor = Anchor(order=order)  # pyright: ignore[reportArgumentType]
        start = dict(learner.model.trainable())
        value, gradients = value_and_gradients(anchor, begun(anchor, learner), bound(learner, start))
        assert float(value.detach()) == 0
        assert all(float(g.abs().max()) == 0 for g in gradients.values())


def test_the_first_task_is_free_and_each_task_has_its_own_start() -> None:
    learner, anchor = learner_on("mask"), Anchor(strength=1.0)
    state = begun(anchor, learner)
    assert anchor.value(Net(learner.model), state, None) is None
    move(learner)
    next_task(learner)
    state = anchor.begin_task(state, learner)
    with torch.no_grad():
        assert float(anchor.value(Net(learner.model), state, None)) == 0  # pyright: ignore[reportArgumentType]
        move(learner)
        assert float(anchor.value(Net(learner.model), state, None)) > 0  # pyright: ignore[reportArgumentType]


def test_a_target_that_no_longer_trains_needs_no_anchor() -> None:
    learner = learner_on("mask", tasks=2, roles={"head.bias": "frozen"})
    learner.model.base_trainable = "first_task"
    learner.model.trainable()
    anchor = Anchor()
    assert anchor.value(Net(learner.model), begun(anchor, learner), None) is None


def test_norm_layers_are_held_unless_the_reference_is_followed() -> None:
    norms = {"layer.1.weight", "layer.1.bias"}
    net = small_net(2, norm=True)
    learner = learner_on("mask", tasks=2, net=net, roles=dict.fromkeys(norms, "shared"))  # pyright: ignore[reportArgumentType]
    everything = set(dict(net.named_parameters()))
    for reference, expected in ((False, everything), (True, everything - norms)):
        state = begun(Anchor(reference_norms=reference), learner)
        assert state.start is not None and set(state.start) == expected


def test_it_joins_a_method() -> None:
    learner = learner_on("mask", tasks=2, mask=MaskOptions(sparsity=30))
    anchor, values = Anchor(strength=1.0, weighting="current"), moved(learner)
    both = combine(Finetune(), anchor)
    joint = both.begin_task(both.init(learner), learner)
    batch = batch_of(learner, make_task(1))
    loss, aux = both.loss(
        Net(learner.model, values), joint, batch, both.draw(joint, learner, batch, generator(0))
    )
    torch.testing.assert_close(loss, aux.terms["cross_entropy"] + aux.terms["anchor"])


def test_bad_settings_say_what_exists() -> None:
    with pytest.raises(
        HypermnesiaError, match=r"anchor\.weighting=earlier needs masked weights \(weights=mask\)"
    ):
        Anchor(weighting="earlier").init(learner_on("plain"))
    with pytest.raises(HypermnesiaError, match=r"no shared or masked parameters to hold; .* anchor=none"):
        Anchor().init(learner_on("hyper"))


def test_a_step_makes_its_masks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    method = combine(Finetune(), Drift(beta=0.1), Anchor(strength=0.1, weighting="current"))
    fit = small.run(None, "mask", method)
    made, real = [0], SemiBinaryMask.mask

    def counted(self: SemiBinaryMask, *given: object) -> object:
        made[0] += torch.is_grad_enabled()
        return real(self, *given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(SemiBinaryMask, "mask", counted)
    small.all_of([fit])
    assert made[0] == fit.records.steps
