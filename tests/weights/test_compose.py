"""Masks and additions: golden values of HyperMask's reference, the fast threshold against torch.quantile."""

import pytest
import torch
from methods.regularisation_helpers import learner_on, small_net
from torch import Tensor
from torch.func import vmap

from hypermnesia.weights.compose import Add, MaskOptions, SemiBinaryMask, least_kept
from hypermnesia.weights.model import Role

H = torch.tensor([[-2.0, -1.0, -0.5, 0.1], [0.2, 0.4, 0.8, 1.6]])
A = torch.tensor([[0.964028, 0.761594, 0.462117, 0.099668], [0.197375, 0.379949, 0.664037, 0.921668]])
BIAS = torch.tensor([0.3, -0.3])


def masked(sparsity: float, ramp: float = 1.0, **options: object) -> dict[str, Tensor]:
    mask = SemiBinaryMask(MaskOptions(sparsity=sparsity, **options))  # pyright: ignore[reportArgumentType]
    found = mask.mask({"weight": H[None], "bias": BIAS[None]}, ramp)
    return {name: value[0] for name, value in found.items()}


@pytest.mark.parametrize(
    ("sparsity", "dropped"),
    [(0, []), (25, [3, 4]), (50, [2, 3, 4, 5]), (75, [1, 2, 3, 4, 5, 6]), (100, [1, 2, 3, 4, 5, 6, 7])],
)
def test_the_percentile_of_each_tensor_decides(sparsity: float, dropped: list[int]) -> None:
    expected = A.flatten().clone()
    expected[dropped] = 0
    found = masked(sparsity)
    torch.testing.assert_close(found["weight"], expected.view(2, 4), atol=1e-6, rtol=0)
    # Two entries of equal size tie at their threshold, and ties are kept.
    torch.testing.assert_close(found["bias"], torch.tensor([0.291313, 0.291313]), atol=1e-6, rtol=0)


def test_gradients_flow_through_the_survivors_alone() -> None:
    h, b = H.clone().requires_grad_(), BIAS.clone().requires_grad_()
    found = SemiBinaryMask(MaskOptions(sparsity=50)).mask({"weight": h[None], "bias": b[None]})
    sum(value.sum() for value in found.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    expected = torch.tensor([[-0.070651, -0.419974, 0, 0], [0, 0, 0.559055, 0.150527]])
    torch.testing.assert_close(h.grad, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(b.grad, torch.tensor([0.915137, -0.915137]), atol=1e-6, rtol=0)


def test_a_tensor_without_threshold_keeps_its_whole_gradient() -> None:
    h = torch.tensor([[0.7, -0.9]], requires_grad=True)
    SemiBinaryMask().mask({"last": h})["last"].sum().backward()
    torch.testing.assert_close(h.grad, torch.tensor([[0.634740, -0.486917]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("step", "sparsity"), [(1, 0.025), (1000, 25), (2000, 50), (3000, 50)])
def test_the_ramp_multiplies_the_sparsity(step: int, sparsity: float) -> None:
    h = torch.linspace(0.001, 3, 4001)[None]
    ramp = min(step / 2000, 1.0)
    ramped = SemiBinaryMask(MaskOptions(sparsity=50)).mask({"w": h}, ramp)["w"]
    constant = SemiBinaryMask(MaskOptions(sparsity=sparsity, ramp=False)).mask({"w": h}, ramp)["w"]
    torch.testing.assert_close(ramped, constant)
    assert int((ramped == 0).sum()) == round(sparsity / 100 * 4000)


def test_a_mask_only_shrinks_weights() -> None:
    base = {"weight": torch.randn(2, 4, generator=torch.Generator().manual_seed(0))}
    for activation in ("tanh", "sigmoid"):
        compose = SemiBinaryMask(MaskOptions(sparsity=40, activation=activation))
        weights = compose({"weight": torch.stack([H, -3 * H])}, base, 1.0)["weight"]
        assert weights.shape == (2, 2, 4)
        assert bool((weights.abs() <= base["weight"].abs()).all())
        assert bool((weights * base["weight"] >= 0).all())


def test_sigmoid_ranks_by_sign() -> None:
    kept = masked(50, activation="sigmoid")["weight"]
    expected = torch.where(H >= 0.15, H.sigmoid(), 0.0)
    torch.testing.assert_close(kept, expected)


def test_rows_have_thresholds_of_their_own_and_vectors_stay_whole() -> None:
    found = masked(50, scope="row")
    expected = torch.tensor([[0.964028, 0.761594, 0, 0], [0, 0, 0.664037, 0.921668]])
    torch.testing.assert_close(found["weight"], expected, atol=1e-6, rtol=0)
    assert int((masked(100, scope="row")["bias"] > 0).sum()) == 2


def test_one_global_threshold_ranks_all_tensors_together() -> None:
    found = masked(60, scope="global")
    everything = torch.cat([A.flatten(), torch.tensor([0.291313, 0.291313])])
    threshold = torch.quantile(everything, 0.6)
    torch.testing.assert_close(found["weight"], torch.where(threshold <= A, A, 0.0), atol=1e-6, rtol=0)
    assert int((found["bias"] > 0).sum()) == 0


def test_each_task_is_thresholded_by_itself() -> None:
    written = {"w": torch.stack([H, 10 * H, H.flip(0)])}
    mask = SemiBinaryMask(MaskOptions(sparsity=50))
    together = mask.mask(written)["w"]
    alone = torch.cat([mask.mask({"w": h[None]})["w"] for h in written["w"]])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1001])
def test_the_selection_chooses_what_the_interpolated_quantile_does(size: int) -> None:
    rng = torch.Generator().manual_seed(size)
    values = torch.rand(3, size, generator=rng, dtype=torch.float64)
    values[2] = (values[2] * 4).round() / 4  # many ties
    for percent in (0.0, 0.1, 10.0, 30.0, 33.3, 50.0, 66.6, 70.0, 99.9, 100.0):
        slow = values >= torch.quantile(values, percent / 100, dim=1, keepdim=True) - 1e-12
        fast = values >= least_kept(values, percent)[:, None]
        assert torch.equal(fast, slow), percent


def test_a_masked_model_leaves_the_last_bias_and_norm_layers_as_they_are() -> None:
    net = small_net(2, norm=True)
    norms: dict[str, Role] = dict.fromkeys(["layer.1.weight", "layer.1.bias"], "shared")
    learner = learner_on("mask", net=net, roles=norms, mask=MaskOptions(sparsity=30))
    overlay, base = learner.model.overlay(0), dict(net.named_parameters())
    assert len(overlay) == len(base) - len(norms) - 1 and "head.bias" not in overlay
    written = learner.model.generator([0])  # pyright: ignore[reportOptionalCall]
    for name, weight in overlay.items():
        a = written[name][0].tanh().abs()
        expected = torch.where(a >= torch.quantile(a, 0.3), base[name] * a, 0.0)
        torch.testing.assert_close(weight, expected)


def test_stacks() -> None:
    mask = SemiBinaryMask(MaskOptions(sparsity=50))
    runs = torch.stack([H, H.flip(1)])[:, None]  # two runs of one task each

    def total(h: Tensor) -> Tensor:
        return mask({"w": h}, {"w": torch.ones(2, 4)}, 1.0)["w"].square().sum()

    torch.testing.assert_close(vmap(total)(runs), torch.stack([total(runs[0]), total(runs[1])]))


def test_an_addition_leaves_the_base_in_place() -> None:
    written, base = {"w": torch.stack([H, 2 * H])}, {"w": torch.ones(2, 4)}
    weights = Add(scale=0.5)(written, base, 1.0)["w"]
    torch.testing.assert_close(weights, torch.stack([1 + 0.5 * H, 1 + H]))
    torch.testing.assert_close(base["w"], torch.ones(2, 4))
