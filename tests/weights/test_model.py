"""The network of task t: what each role does, what trains when, and what rests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.learner import Net
from hypermnesia.nets import NETS
from hypermnesia.weights import Add, DenseOptions, Head, HeadsOptions, SemiBinaryMask
from hypermnesia.weights.build import build_model
from hypermnesia.weights.model import WRITTEN, Model, Role, evaluating, network
from hypermnesia.weights.options import Hyper, Partial

X = torch.rand(6, *small.SHAPE, generator=generator(0, "x"))
NAMES = ["layer.0.weight", "layer.0.bias", "head.weight", "head.bias"]
ROLES: tuple[Role, ...] = ("shared", "body", "frozen", "per_task", "generated", "masked", "added")


def with_roles(
    roles: dict[str, Role], default: Role = "shared", net: nn.Module | None = None, **options: Any
) -> Model:
    """A three-task model of a small network with these roles by parameter name."""
    net = small.mlp(4) if net is None else net
    assigned = dict.fromkeys((name for name, _ in net.named_parameters()), default) | roles
    shapes = {name: p.shape for name, p in net.named_parameters() if assigned[name] in WRITTEN}
    writer = DenseOptions(embedding=3, hidden=(5,)).build(shapes, generator(0)) if shapes else None
    compose = (
        SemiBinaryMask() if "masked" in assigned.values() else Add() if "added" in assigned.values() else None
    )
    return small.grown(Model(net, None, assigned, writer, compose, **options), 3)


def slow(model: Model, x: Tensor, task: int) -> Tensor:
    """Sample by sample, through a plain network that holds the task's own weights."""
    state = model.task_state(task)
    plain = small.mlp(4)
    plain.load_state_dict(state)
    return torch.stack([plain(sample[None])[0] for sample in x])


# ------------------------------------------------------------------------------------------------------------ roles


@pytest.mark.parametrize("role", ROLES)
def test_a_task_uses_its_own_weights(role: Role) -> None:
    model = with_roles({"layer.0.weight": role}, default="shared")
    outputs = [model(X, task) for task in range(3)]
    for task, found in enumerate(outputs):
        torch.testing.assert_close(found, slow(model, X, task))
    differs = role in ("per_task", *WRITTEN)
    assert differs == (not torch.allclose(outputs[0], outputs[1]))
    assert model.depends_on_task == differs


def test_a_masked_weight_is_the_base_times_the_mask() -> None:
    model = with_roles({"layer.0.weight": "masked"})
    assert model.generator is not None
    mask = model.generator([1])["layer.0.weight"][0].tanh().abs()
    own = dict(model.target.named_parameters())["layer.0.weight"]
    torch.testing.assert_close(model.overlay(1)["layer.0.weight"], own * mask)


def test_an_added_weight_is_the_base_plus_what_is_written() -> None:
    model = with_roles({"layer.0.weight": "added"})
    assert model.generator is not None
    own = dict(model.target.named_parameters())["layer.0.weight"]
    change = model.generator([2])["layer.0.weight"][0]
    torch.testing.assert_close(model.overlay(2)["layer.0.weight"], own + change)


def test_generated_parameters_hold_no_memory() -> None:
    model = with_roles(dict.fromkeys(NAMES, "generated"))
    assert all(p.is_meta for p in model.target.parameters())
    assert not any(name.startswith("target.") for name in model.stored())
    model.to(torch.float64)
    model.to("cpu")
    assert all(p.is_meta for p in model.target.parameters())
    with pytest.raises((RuntimeError, NotImplementedError)):
        model.target(X)


def test_all_of_one_task_as_a_plain_network() -> None:
    model = with_roles({"layer.0.weight": "generated", "head.weight": "per_task", "head.bias": "masked"})
    plain = small.mlp(4)
    plain.load_state_dict(model.task_state(1))
    torch.testing.assert_close(plain(X), model(X, 1))
    assert not any(value.requires_grad for value in model.task_state(1).values())


@pytest.mark.parametrize("role", ROLES)
def test_tied_weights_stay_tied(role: Role) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x.flatten(1)).tanh())

    model = with_roles({}, default=role, net=Tied())
    plain = Tied()
    plain.load_state_dict(model.task_state(1))
    assert plain.second.weight is plain.first.weight
    torch.testing.assert_close(model(X, 1), plain(X))
    assert [n for n, _ in model.target.named_parameters()] == ["first.weight", "first.bias", "second.bias"]


def test_errors() -> None:
    net = small.mlp(4)
    with pytest.raises(HypermnesiaError, match="roles and the target's parameters differ in: head.bais"):
        Model(net, None, {"head.bais": "shared"} | dict.fromkeys(NAMES, "shared"))
    with pytest.raises(
        HypermnesiaError, match="the generator must write exactly the parameters whose role is"
    ):
        Model(net, None, dict.fromkeys(NAMES, "generated"))
    masked: dict[str, Role] = {**dict.fromkeys(NAMES, "shared"), "head.bias": "masked"}
    writer = DenseOptions().build({"head.bias": torch.Size((4,))}, generator(0))
    with pytest.raises(HypermnesiaError, match="masked or added parameters need `compose`"):
        Model(net, None, masked, writer)
    with pytest.raises(HypermnesiaError, match="the model has no task yet: call begin_task first"):
        Model(net, None).trainable()


# ------------------------------------------------------------------------------------------------ what trains when


def trained_at(model: Model, tasks: int) -> list[set[str]]:
    """Names of what trains in each task, without the prefix of the module."""
    found = []
    for _ in range(tasks):
        model.begin_task(generator(0))
        found.append({name for name in model.trainable() if "heads" not in name and "trunk" not in name})
        assert found[-1] <= {name for name, p in model.named_parameters() if p.requires_grad}
    return found


@pytest.mark.parametrize(
    ("role", "tasks"), [("shared", [True, True]), ("body", [True, False]), ("frozen", [False, False])]
)
def test_shared_body_and_frozen_parameters(role: Role, tasks: list[bool]) -> None:
    model = Model(small.mlp(4), None, {**dict.fromkeys(NAMES, "shared"), "head.bias": role})
    assert ["target.head.bias" in names for names in trained_at(model, 2)] == tasks


def test_rows_of_earlier_tasks_do_not_train() -> None:
    roles: dict[str, Role] = {**dict.fromkeys(NAMES, "shared"), "head.bias": "per_task"}
    first, second = trained_at(Model(small.mlp(4), None, roles), 2)
    assert first - second == {"rows.0.head/bias"}
    assert second - first == {"rows.1.head/bias"}
    assert "target.head.bias" not in first


@pytest.mark.parametrize(("plastic", "kept"), [(False, set()), (True, {"generator.embeddings.0"})])
def test_embeddings_of_earlier_tasks(plastic: bool, kept: set[str]) -> None:
    roles: dict[str, Role] = {**dict.fromkeys(NAMES, "shared"), "head.bias": "generated"}
    writer = DenseOptions().build({"head.bias": torch.Size((4,))}, generator(0))
    model = Model(small.mlp(4), None, roles, writer, plastic_embeddings=plastic)
    first, second = trained_at(model, 2)
    assert "generator.embeddings.0" in first
    assert {name for name in second if "embeddings" in name} == {"generator.embeddings.1"} | kept


@pytest.mark.parametrize(("base", "tasks"), [("always", [1, 1]), ("first_task", [1, 0]), ("never", [0, 0])])
def test_base_values_under_masks(base: Any, tasks: list[int]) -> None:
    roles: dict[str, Role] = {**dict.fromkeys(NAMES, "shared"), "head.bias": "masked"}
    writer = DenseOptions().build({"head.bias": torch.Size((4,))}, generator(0))
    model = Model(small.mlp(4), None, roles, writer, SemiBinaryMask(), base_trainable=base)
    assert ["target.head.bias" in names for names in trained_at(model, 2)] == [bool(t) for t in tasks]


def test_a_new_embedding_may_start_where_the_last_one_is() -> None:
    for start, equal in (("previous", True), ("random", False)):
        model = small.model(small.split_stream(), Hyper(embedding_init=start))  # pyright: ignore[reportArgumentType]
        small.grown(model, 2)
        assert model.generator is not None
        first, second = model.generator.embeddings
        assert torch.equal(first, second) == equal


def test_gradients_reach_what_trains_and_nothing_else() -> None:
    model = with_roles({"layer.0.weight": "generated", "head.bias": "per_task", "head.weight": "frozen"})
    found = Net(model).gradients(model(X, 2).square().sum())
    assert all(bool(g.any()) for g in found.values())
    assert "rows.2.head/bias" in found
    assert not {"rows.0.head/bias", "target.head.weight", "generator.embeddings.0"} & set(found)


# ----------------------------------------------------------------------------------------------------- statistics


def steps(model: Model, task: int, count: int = 3, seed: int = 0) -> None:
    """Train everything trainable a little, in training mode, so that statistics move as well."""
    model.train()
    optimizer = torch.optim.SGD(model.trainable().values(), 0.1)
    for i in range(count):
        x = torch.rand(8, *small.SHAPE, generator=generator(seed, i))
        optimizer.zero_grad()
        model(x, task).square().sum().backward()
        optimizer.step()


def snapshot(model: Model) -> Tensors:
    return {name: value.detach().clone() for name, value in model.stored().items()}


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "statistics only"])
@pytest.mark.parametrize("cut", ["stem", "mid"])
def test_a_body_rests_after_the_first_task(affine: bool, cut: str) -> None:
    """Parameters and buffers of the body stay bit for bit what the first task made of them."""
    options = Partial(cut=cut, tail_norm="keep")
    model = small.model(small.split_stream(), options, lambda outputs: small.conv(outputs, affine))
    stages = ("stem",) if cut == "stem" else ("stem", "mid")

    def body() -> Tensors:
        return {
            n: v for n, v in snapshot(model).items() if n.startswith(tuple(f"target.{s}." for s in stages))
        }

    model.begin_task(generator(0))
    fresh = body()
    steps(model, 0)
    first = body()
    for name in fresh:
        assert not torch.equal(fresh[name], first[name]), name
    for task in (1, 2):
        model.begin_task(generator(task))
        steps(model, task, seed=task)
        with evaluating(model):
            model(X, task)
        later = body()
        for name in first:
            assert torch.equal(first[name], later[name]), name


def test_statistics_outside_the_body_belong_to_the_task() -> None:
    options = Partial(cut="stem", tail_norm="keep")
    model = small.model(small.split_stream(), options, small.conv)
    model.begin_task(generator(0))
    steps(model, 0)
    kept = snapshot(model)
    model.begin_task(generator(1))
    fresh = snapshot(model)
    assert torch.equal(fresh["statistics.1.mid/1/running_mean"], torch.zeros(4))
    steps(model, 1)
    after = snapshot(model)
    assert not torch.equal(after["statistics.1.mid/1/running_mean"], fresh["statistics.1.mid/1/running_mean"])
    assert after["statistics.1.mid/1/num_batches_tracked"] == 3
    for name in kept:
        if name.startswith(("statistics.0.", "rows.0.")):
            assert torch.equal(kept[name], after[name]), name


def test_statistics_may_be_shared() -> None:
    model = small.model(small.split_stream(), Hyper(statistics="shared"), small.conv)
    small.grown(model, 2)
    assert not len(model.statistics)
    steps(model, 1)
    assert dict(model.target.named_buffers())["mid.1.num_batches_tracked"] == 3


def test_what_a_resting_module_holds_may_still_train() -> None:
    """A frozen parameter of the root must not put dropout or batch norm of other parts to rest."""

    class Rooted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(16))
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(16)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(self.norm(x.flatten(1) + self.token))

    net = Rooted()
    roles: dict[str, Role] = {"token": "frozen", "norm.weight": "shared", "norm.bias": "shared"}
    model = Model(net, None, roles)
    model.begin_task(generator(0))
    model.train()
    assert (net.training, net.drop.training, net.norm.training) == (False, True, True)
    model(X, 0)
    assert net.norm.num_batches_tracked == 1


def test_the_mode_is_given_back() -> None:
    model = with_roles({})
    for mode in (True, False):
        model.train(mode)
        with pytest.raises(ZeroDivisionError), evaluating(model):
            assert not model.training
            raise ZeroDivisionError
        assert model.training == mode


# --------------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize("kind", ["plain", "hyper", "partial", "mask", "lora"])
def test_task_by_task_and_sample_by_sample(kind: Any) -> None:
    """Weights built once per task give what weights built anew for every sample give."""
    model = small.grown(small.model(small.split_stream(), kind), 3)
    tasks = [2, 0, 1, 1, 2, 0]
    found = [model(X[[i for i, t in enumerate(tasks) if t == task]], task) for task in range(3)]
    for task in range(3):
        rows = [model(X[i : i + 1], task)[0] for i, t in enumerate(tasks) if t == task]
        torch.testing.assert_close(found[task], torch.stack(rows), rtol=1e-5, atol=1e-6)
        reused = network(model, task)
        torch.testing.assert_close(reused(X), model(X, task), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["hyper", "partial", "mask", "lora"])
def test_all_tasks_in_one_pass_of_the_generator(kind: Any) -> None:
    model = small.grown(small.model(small.split_stream(), kind), 3)
    together = model.written([2, 0, 1])
    for row, task in enumerate((2, 0, 1)):
        for name, value in model.written([task]).items():
            torch.testing.assert_close(together[name][row], value[0], rtol=1e-5, atol=1e-6)


def test_logits_do_not_depend_on_the_rest_of_the_batch() -> None:
    """With the default norm of a generated tail, also in training mode."""
    model = small.grown(small.model(small.split_stream(), Partial(cut=None), small.conv), 2)
    model.train()
    torch.testing.assert_close(model(X, 1)[:2], model(X[:2], 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "columns"), [("shared", 6), ("sliced", 2), ("per_task", 2)])
def test_heads_slice_the_outputs(kind: Any, columns: int) -> None:
    stream = small.split_stream()
    model = small.grown(small.model(stream, Hyper(head=kind)), 3)
    plain = Model(model.target, None, model.roles, model.generator)
    plain.num_tasks = 3
    for task in range(3):
        found, whole = model(X, task), plain(X, task)
        assert found.shape == (6, columns)
        start = 2 * task if kind == "sliced" else 0
        torch.testing.assert_close(found, whole[:, start : start + columns])


def test_extra_arguments_reach_the_target() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 2)

        def forward(self, x: Tensor, scale: float) -> Tensor:
            return scale * self.layer(x.flatten(1))

    model = Model(Scaled(), None)
    model.begin_task(generator(0))
    torch.testing.assert_close(Net(model)(X, 0, 3.0), 3 * Net(model)(X, 0, 1.0))


def test_a_part_runs_in_place_of_the_whole() -> None:
    options = Partial(cut="stem", tail_norm="keep")
    model = small.grown(small.model(small.split_stream(), options, small.conv), 2)
    model.eval()
    target = model.target
    assert isinstance(target, nn.Sequential)
    hidden = target.stem(X)
    tail = nn.Sequential()
    for name in ("mid", "pool", "head"):
        tail.add_module(name, getattr(target, name))
    torch.testing.assert_close(model(hidden, 1, part=tail), model(X, 1))


# -------------------------------------------------------------------------------------------- functional transforms


@pytest.mark.parametrize("kind", ["plain", "hyper", "partial", "mask", "lora"])
@pytest.mark.parametrize("net", [small.mlp, small.conv], ids=["mlp", "conv"])
def test_two_models_as_one_stacked_program(kind: Any, net: Callable[[int], nn.Module]) -> None:
    """Gradients and moving statistics equal those of each model alone."""
    stream = small.split_stream()
    models = [small.grown(small.model(stream, kind, net, seed=seed), 2, seed=seed) for seed in (0, 1)]
    params = stacked([{n: p for n, p in m.named_parameters() if not p.is_meta} for m in models])
    buffers = stacked([dict(model.named_buffers()) for model in models])

    def loss(params: Tensors, buffers: Tensors) -> Tensor:
        return Net(models[0], params, buffers)(X, 1).square().sum()

    together = vmap(grad(loss))(params, buffers)
    for i, model in enumerate(models):
        alone = Net(model)
        for name, expected in alone.gradients(alone(X, 1).square().sum()).items():
            torch.testing.assert_close(together[name][i], expected, rtol=1e-4, atol=1e-5)
        for name, value in model.named_buffers():
            torch.testing.assert_close(buffers[name][i], value)


def stacked(sides: Sequence[Mapping[str, Tensor]]) -> Tensors:
    return {name: torch.stack([side[name].detach() for side in sides]) for name in sides[0]}


def test_the_weights_of_a_task_through_functional_call() -> None:
    model = small.grown(small.model(small.split_stream(), "hyper"), 2)
    torch.testing.assert_close(functional_call(small.mlp(2), model.overlay(1), (X,)), model(X, 1))


# ------------------------------------------------------------------------------------------- published sizes (PHN)


@pytest.mark.parametrize(
    ("cut", "hyper", "body"),
    [
        (None, {(20, 5): 769_377, (20, 10): 795_877, (4, 5): 720_785}, 0),
        ("layer1", {(20, 5): 713_622, (20, 10): 740_122, (4, 5): 668_230}, 15_140),
        ("layer2", {(20, 5): 616_022, (20, 10): 642_522, (4, 5): 577_030}, 66_740),
        ("layer3", {(20, 5): 420_822, (20, 10): 447_322, (4, 5): 394_630}, 272_340),
        ("layer4", {(20, 5): 30_422, (20, 10): 56_922, (4, 5): 29_830}, 1_093_140),
    ],
    ids=["HN-F", "HN-1", "HN-2", "HN-3", "HN-4"],
)
def test_parameter_counts_of_partial_hypernetworks(
    cut: str | None, hyper: dict[tuple[int, int], int], body: int
) -> None:
    """Hemati et al. 2023 on the slim ResNet-18: generator, embeddings and stored rows of all tasks."""
    for (tasks, classes), expected in hyper.items():
        net = NETS["resnet18"](width=20).build((3, 32, 32), classes)
        head = Head("per_task", tuple(tuple(range(classes)) for _ in range(tasks)), classes)
        model = build_model(net, head, Partial(cut=cut, generator=HeadsOptions()), generator(0))
        for _ in range(tasks):
            model.begin_task(generator(0))
        sizes = {name: p.numel() for name, p in model.named_parameters() if not p.is_meta}
        stateful = sum(
            n for name, n in sizes.items() if model.roles.get(name.removeprefix("target.")) == "body"
        )
        written = sum(n for name, n in sizes.items() if name.split(".")[0] in ("generator", "rows"))
        assert (written, stateful) == (expected, body)


@pytest.mark.parametrize("kind", ["plain", "hyper", "partial", "mask", "lora"])
def test_a_fresh_model_loads_what_a_grown_one_saved(kind, tmp_path) -> None:
    """Also within another module, and through the files of torch and safetensors; generated weights take no room."""
    stream = small.split_stream()
    grown = small.grown(small.model(stream, kind), 3)
    saved = grown.state_dict()
    assert not any(value.is_meta for value in saved.values())
    torch.save(saved, tmp_path / "model.pt")
    save_file(saved, tmp_path / "model.safetensors")
    for values in (
        torch.load(tmp_path / "model.pt", weights_only=True),
        load_file(tmp_path / "model.safetensors"),
    ):
        holder = torch.nn.ModuleList([small.model(stream, kind, seed=1)])
        assert (
            str(holder.load_state_dict({f"0.{k}": v for k, v in values.items()}))
            == "<All keys matched successfully>"
        )
        for name, value in holder[0].stored().items():
            assert torch.equal(value, grown.stored()[name])
        x = torch.rand(2, 1, 4, 4)
        with torch.no_grad(), evaluating(grown), evaluating(holder[0]):
            assert all(torch.equal(grown(x, task), holder[0](x, task)) for task in range(3))
    with pytest.raises(RuntimeError, match="the model has 4 tasks, and 3 were saved: load into a fresh one"):
        small.grown(small.model(stream, kind), 4).load_state_dict(saved)
