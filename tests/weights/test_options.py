"""The choice of weights: which role each parameter of a network gets."""

from collections import OrderedDict
from typing import Any

import pytest
import small
import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.nets import NETS
from hypermnesia.weights import (
    Add,
    ChunkedOptions,
    DenseOptions,
    HeadsOptions,
    MaskOptions,
    Model,
    SemiBinaryMask,
)
from hypermnesia.weights.build import build_model, model_for
from hypermnesia.weights.options import Hyper, LoRA, Mask, Partial, Plain, Weights, WeightsOptions, of_kind

X = torch.rand(4, *small.SHAPE, generator=generator(0, "x"))


def roles_of(net: nn.Module | None = None, kind: str = "plain", **options: Any) -> dict[str, str]:
    if kind == "partial" and options.get("tail") != "stored":
        options.setdefault("generator", DenseOptions())
    return {**of_kind(kind, **options).roles(net or small.mlp(4))}


# ----------------------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("plain", "shared"), ("hyper", "generated"), ("mask", "masked"), ("lora", "per_task")],
)
def test_what_a_kind_makes_of_a_matrix(kind: Any, expected: str) -> None:
    assert roles_of(kind=kind)["head.weight"] == expected


def test_the_last_bias_is_never_masked() -> None:
    assert roles_of(kind="mask") == {
        "layer.0.weight": "masked",
        "layer.0.bias": "masked",
        "head.weight": "masked",
        "head.bias": "shared",
    }


def test_partial_weights_cut_before_the_classifier() -> None:
    expected = {"layer.0.weight": "body", "layer.0.bias": "body", "head.weight": "generated"}
    assert roles_of(kind="partial") == {**expected, "head.bias": "generated"}
    assert roles_of(kind="partial", generator=HeadsOptions()) == {**expected, "head.bias": "per_task"}
    stored = roles_of(kind="partial", tail="stored")
    assert (stored["head.weight"], stored["layer.0.weight"]) == ("per_task", "body")


def test_low_rank_additions() -> None:
    assert roles_of(kind="lora")["layer.0.weight"] == "added"
    assert roles_of(kind="lora", target=("head.weight",))["head.weight"] == "added"
    found = roles_of(small.conv(4), kind="lora")
    assert [name for name, role in found.items() if role == "added"] == ["stem.0.weight", "mid.0.weight"]
    with pytest.raises(
        HypermnesiaError, match="'layer.0.bias' matches no weight matrix; there are: layer.0.weight"
    ):
        roles_of(kind="lora", target=("layer.0.bias",))


# -------------------------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize("role", ["generated", "masked", "shared", "per_task", "frozen", "body"])
def test_patterns_override_the_kind(role: str) -> None:
    found = roles_of(kind="hyper", **{role: ("layer.*",)})
    assert found["layer.0.weight"] == found["layer.0.bias"] == role
    assert found["head.weight"] == "generated"


def test_later_roles_win_over_earlier_ones() -> None:
    found = roles_of(shared=("*",), per_task=("head",), frozen=("head.bias",))
    assert found["layer.0.weight"] == "shared"
    assert (found["head.weight"], found["head.bias"]) == ("per_task", "frozen")


def test_a_pattern_that_matches_nothing() -> None:
    expected = (
        "the pattern 'layer9.*' matches no parameter; there are: layer.0.weight, layer.0.bias, head.weight"
    )
    with pytest.raises(HypermnesiaError, match=expected.replace("*", r"\*")):
        roles_of(per_task=("layer9.*",))


# ------------------------------------------------------------------------------------------------------------ cuts


@pytest.mark.parametrize(
    ("cut", "body"), [("auto", ("stem", "mid")), ("mid", ("stem", "mid")), ("stem", ("stem",)), (None, ())]
)
def test_cuts(cut: str | None, body: tuple[str, ...]) -> None:
    found = roles_of(small.conv(4), kind="partial", cut=cut)
    assert {name.split(".")[0] for name, role in found.items() if role == "body"} == set(body)


def test_a_network_of_one_stage_has_no_body() -> None:
    net = nn.Sequential(OrderedDict(head=nn.Linear(16, 2)))
    assert roles_of(net, kind="partial") == {"head.weight": "generated", "head.bias": "generated"}


def test_plain_weights_have_no_body_unless_they_are_cut() -> None:
    assert "body" not in roles_of(small.conv(4)).values()
    assert roles_of(small.conv(4), cut="stem")["stem.0.weight"] == "body"


def test_a_network_that_declares_no_stages_is_cut_between_its_children() -> None:
    """As those of torchvision, whose forward does more than run their children; `auto` stops before the classifier."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.layer1 = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)
            self.fc, self.dropout = nn.Linear(2, 4), nn.Dropout()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.dropout(self.layer1(self.conv1(x))).mean((2, 3)))

    for cut, body in [("conv1", {"conv1"}), ("auto", {"conv1", "layer1"})]:
        found = roles_of(Net(), kind="partial", cut=cut)
        assert {name.split(".")[0] for name, role in found.items() if role == "body"} == body


@pytest.mark.parametrize("cut", ["stage9", "head"])
def test_an_unknown_cut_lists_the_stages(cut: str) -> None:
    text = rf"weights.cut={cut}: \w+ has no such stage to cut behind; .* such as weights.cut=\w+\. .*: stem, mid, pool; auto"
    with pytest.raises(HypermnesiaError, match=text):
        roles_of(small.conv(4), kind="partial", cut=cut)


def test_a_network_that_is_its_classifier_has_nowhere_to_be_cut() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1))

    with pytest.raises(
        HypermnesiaError,
        match="no such stage to cut behind; it has one stage only, so write weights.cut=auto",
    ):
        roles_of(Whole(), kind="partial", cut="head")
    assert roles_of(Whole(), kind="partial")["head.weight"] == "generated"
    assert roles_of(Whole(), kind="hyper")["head.weight"] == "generated"


# ----------------------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize("kind", ["hyper", "mask"])
@pytest.mark.parametrize(
    ("norms", "expected"), [("per_task", "per_task"), ("shared", "shared"), ("written", None)]
)
def test_norm_layers(kind: Any, norms: Any, expected: str | None) -> None:
    found = roles_of(small.conv(4), kind=kind, norms=norms)
    written = {"hyper": "generated", "mask": "masked"}[kind]
    assert found["mid.1.weight"] == found["mid.1.bias"] == (expected or written)
    assert found["mid.0.weight"] == written


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4)], ids=type
)
def test_every_norm_layer_of_torch_counts(layer: nn.Module) -> None:
    found = roles_of(nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 2)), kind="hyper")
    assert {found[f"1.{key}"] for key, _ in layer.named_parameters()} == {"per_task"}


def test_plain_weights_share_norm_layers() -> None:
    assert roles_of(small.conv(4))["mid.1.weight"] == "shared"


@pytest.mark.parametrize(
    ("norm", "kinds"),
    [
        ("instance", {"stem": nn.BatchNorm2d, "mid": nn.InstanceNorm2d}),
        ("group", {"stem": nn.BatchNorm2d, "mid": nn.GroupNorm}),
        ("keep", {"stem": nn.BatchNorm2d, "mid": nn.BatchNorm2d}),
    ],
)
def test_norm_layers_of_a_generated_tail(norm: Any, kinds: dict[str, type]) -> None:
    net = Partial(cut="stem", tail_norm=norm).prepare(small.conv(4))
    for stage, kind in kinds.items():
        assert type(net.get_submodule(f"{stage}.1")) is kind
    assert net(X).shape == (4, 4)


@pytest.mark.parametrize(("width", "groups"), [(3, 3), (4, 4), (20, 5), (40, 8), (11, 1)])
def test_groups_divide_the_width(width: int, groups: int) -> None:
    net = nn.Sequential(OrderedDict(a=nn.BatchNorm2d(width), head=nn.Linear(1, 1)))
    norm = Partial(cut=None, tail_norm="group").prepare(net).get_submodule("a")
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


@pytest.mark.parametrize("init", ["hyperfan-in", "hyperfan-out", "hyperfan-harmonic"])
def test_generated_norm_layers_start_at_one_and_zero(init: Any) -> None:
    options = Hyper(norms="written")
    writer = DenseOptions(hidden=(5,), init=init)
    model = small.grown(small.model(small.split_stream(), options, small.conv, writer), 1)
    written = model.written([0])
    torch.testing.assert_close(written["mid.1.weight"], torch.ones(1, 4))
    torch.testing.assert_close(written["mid.1.bias"], torch.zeros(1, 4))


# ---------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Plain(), "shared"),
        (Plain(per_task=("*",)), "per_task"),
        (Hyper(), "per_task"),
        (Hyper(head="sliced"), "sliced"),
        (Partial(head="shared"), "shared"),
    ],
)
def test_the_head_that_goes_with_the_weights(options: Weights, expected: str) -> None:
    assert options.head_kind == expected


@pytest.mark.parametrize(
    ("options", "per_task"),
    [
        (Plain(), False),
        (Plain(head="per_task"), False),
        (Hyper(), True),
        (Hyper(statistics="shared"), False),
        (Plain(per_task=("head",)), True),
        (Plain(statistics="per_task"), True),
    ],
)
def test_statistics_belong_to_the_task_where_weights_do(options: Weights, per_task: bool) -> None:
    model = small.grown(small.model(small.split_stream(), options, small.conv), 2)
    assert (len(model.statistics) == 2) == per_task


def test_composition() -> None:
    stream = small.split_stream()
    assert small.model(stream, "plain").compose is None
    assert isinstance(small.model(stream, "mask").compose, SemiBinaryMask)
    added = small.model(stream, LoRA(scale=0.5)).compose
    assert added == Add(scale=0.5)


def test_something_written_needs_a_generator() -> None:
    with pytest.raises(HypermnesiaError, match="weights=hyper writes 4 parameters and needs `rng`"):
        build_model(small.mlp(2), None, Hyper())
    with pytest.raises(HypermnesiaError, match="weights.generator: nothing is written with weights=plain"):
        model_for(small.split_stream(), small.mlp, "plain", DenseOptions())
    with pytest.raises(HypermnesiaError, match="weights.mask: nothing is masked with weights=hyper"):
        Hyper(mask=MaskOptions())


def test_a_kind_of_weights_brings_what_it_needs() -> None:
    assert (Plain().generator, Plain().mask, LoRA().mask, Partial(tail="stored").generator) == (None,) * 4
    assert isinstance(Plain(generated=("head",)).generator, ChunkedOptions)
    assert Plain(masked=("head",)).mask == MaskOptions()
    assert (Hyper().mask, Mask().mask) == (None, MaskOptions())
    assert [type(of_kind(kind).generator).__name__ for kind in ("hyper", "partial", "mask", "lora")] == [
        "ChunkedOptions",
        "HeadsOptions",
        "DenseOptions",
        "LowRankOptions",
    ]


def test_weights_by_their_name_in_version_0_1() -> None:
    assert WeightsOptions(kind="mask", head="sliced") == Mask(head="sliced")
    assert WeightsOptions() == Plain()
    with pytest.raises(HypermnesiaError, match="unknown weights.kind 'hiper'; did you mean 'hyper'"):
        WeightsOptions(kind="hiper")  # pyright: ignore[reportArgumentType]


def test_heads_write_matrices_and_tasks_store_vectors() -> None:
    net = NETS["resnet18"](width=2).build((3, 8, 8), 2)
    model = build_model(net, None, Partial(cut=None), generator(0))
    assert model.generator is not None
    assert all(len(shape) >= 2 for shape in model.generator.shapes.values())
    assert model.roles["head.bias"] == model.roles["stem.norm.weight"] == "per_task"


def test_one_line_from_a_network_to_a_model() -> None:
    stream = small.split_stream()
    sizes: list[int] = []

    def net(outputs: int) -> nn.Module:
        sizes.append(outputs)
        return small.mlp(outputs)

    before = torch.get_rng_state()
    first, again, other = (model_for(stream, net, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert sizes == [6, 6, 6]
    for same, model in ((True, again), (False, other)):
        pairs = zip(first.parameters(), model.parameters(), strict=True)
        assert same == all(torch.equal(a, b) for a, b in pairs)
    given = small.mlp(2)
    assert model_for(stream, given, "hyper").target is given
    for kind in ("hyper", "partial", "mask", "lora"):
        model = model_for(stream, small.mlp, kind)
        assert isinstance(model, Model)
        model.begin_task(generator(0))
        assert model(X, 0).shape == (4, 2)


def test_a_writer_is_given_by_its_options_not_by_its_name() -> None:
    stream = small.split_stream()
    with pytest.raises(
        HypermnesiaError,
        match=r"^generator='chunked': expected the options of a generator: .*ChunkedOptions\(\)",
    ):
        model_for(stream, small.mlp, "hyper", "chunked")


def test_biases_stored_beside_generated_weights_start_at_zero() -> None:
    def first_bias(**options: Any) -> Tensor:
        model = small.model(small.split_stream(), Partial(**options))
        model.begin_task(generator(0))
        return model.overlay(0)["head.bias"]

    assert not first_bias(cut=None).any()
    assert first_bias(tail="stored").any()  # a layer of its own, with torch's start


def test_a_wide_head_of_each_task_trains_and_answers_with_its_classes() -> None:
    run = small.run(weights=Partial(cut=None, head_width=5))
    small.all_of([run])
    assert run.learner.model.head is not None and run.learner.model.head.width == 5
    assert run.learner.model(X, 1).shape == (4, 5)
    assert len(run.records.rows["task"]) == 3 and len(run.records.rows["class"][-1]) == 3
    with pytest.raises(HypermnesiaError, match="weights.head_width=0"):
        Plain(head_width=0)
