"""Values as JSON and tensors, and back."""

import json
import math
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.methods.replay.buffer import Memory, empty, insert
from hypermnesia.training.serialise import PackingError, modules_of, pack, unpack

CPU = torch.device("cpu")
Point = namedtuple("Point", "x y")


@dataclass(frozen=True)
class Inner:
    values: Tensors
    note: str | None = None


@dataclass
class Outer:
    inner: Inner
    count: int
    rng: torch.Generator


@dataclass
class Derived:
    a: int
    twice: int = field(init=False, default=0)


def again(value: Any, modules: frozenset[str] = frozenset({__name__})) -> Any:
    """`value` through JSON text and tensors."""
    tensors: Tensors = {}
    form = json.loads(json.dumps(pack(value, tensors, "value"), allow_nan=False))
    return unpack(form, tensors, modules, CPU)


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a.nan_to_num(), b.nan_to_num())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, float):
        assert a == b or (math.isnan(a) and math.isnan(b))
    else:
        assert a == b


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text() | st.integers() | st.booleans() | st.none()
arrays = st.lists(st.floats(width=32), max_size=4).map(lambda items: torch.tensor(items, dtype=torch.float32))
values = st.recursive(
    numbers | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(st.text(), arrays, max_size=3).map(Inner)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_values_come_back(value: Any) -> None:
    assert flat(again(value)) == flat(value)


def flat(value: Any) -> Any:
    """The value as text and lists, which compare NaN as equal to itself."""
    if isinstance(value, Tensor):
        return str(value.dtype), str(value.tolist())
    if isinstance(value, Inner):
        return "Inner", flat(value.values)
    if isinstance(value, dict):
        return "dict", [(repr(key), flat(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [flat(item) for item in value]
    return repr(value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.tensor([float("nan"), -0.0, float("inf")]),
        torch.arange(6, dtype=torch.int64).view(2, 3),
        torch.tensor([[True], [False]]),
        torch.arange(4, dtype=torch.uint8),
        torch.randn(3, dtype=torch.bfloat16),
        torch.randn(3, dtype=torch.float64),
    ],
    ids=lambda t: f"{t.dtype}{tuple(t.shape)}",
)
def test_tensors(tensor: Tensor) -> None:
    assert_same(again(tensor), tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(4, 3).T,
        torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.randn(2, 3, 4).permute(2, 0, 1),
    ],
    ids=["transposed", "channels last", "permuted"],
)
def test_the_layout_in_memory_is_kept(tensor: Tensor) -> None:
    found = again(tensor)
    assert_same(found, tensor)
    assert found.stride() == tensor.stride()


def test_an_axis_of_one_lies_nowhere() -> None:
    tensors: Tensors = {}
    for value in (torch.empty_strided((3, 1, 2, 2), (4, 1, 2, 1)), torch.empty(3, 1, 2, 2)):
        assert "order" not in pack(value.zero_(), tensors, "v")


def test_views_are_stored_without_what_they_are_views_of() -> None:
    tensors: Tensors = {}
    big = torch.randn(100, 3)
    form = pack([big[2:4], big[:1].expand(5, 3)], tensors, "v")
    assert sum(t.untyped_storage().nbytes() for t in tensors.values()) == (6 + 15) * 4
    found = unpack(form, tensors, frozenset(), CPU)
    assert torch.equal(found[0], big[2:4]) and torch.equal(found[1], big[:1].expand(5, 3))


def test_a_form_is_a_copy() -> None:
    tensors: Tensors = {}
    value = torch.zeros(3)
    form = pack({"a": value}, tensors, "v")
    value.add_(1)
    found = unpack(form, tensors, frozenset(), CPU)
    assert not bool(found["a"].any())
    found["a"].add_(1)
    assert not bool(unpack(form, tensors, frozenset(), CPU)["a"].any())


def test_parameters_come_back_as_values() -> None:
    found = again({"p": nn.Parameter(torch.ones(2))})
    assert type(found["p"]) is Tensor and not found["p"].requires_grad


def test_generators_go_on() -> None:
    rng = generator(0)
    torch.randn(3, generator=rng)
    found = again(rng)
    assert torch.equal(torch.randn(5, generator=found), torch.randn(5, generator=rng))


def test_dataclasses() -> None:
    value = Outer(Inner({"a.b": torch.ones(2), "a": torch.zeros(1)}, "note"), 3, generator(1))
    found = again(value)
    assert type(found) is Outer and type(found.inner) is Inner
    assert (found.count, found.inner.note) == (3, "note")
    assert_same(found.inner.values, value.inner.values)
    assert_same(again(OptimizerOptions(lr=0.5), frozenset()), OptimizerOptions(lr=0.5))


def test_a_memory() -> None:
    memory = empty(4, (2,), outputs=3, policy="class-balanced")
    x = torch.arange(12, dtype=torch.uint8).view(6, 2)
    insert(memory, x, torch.tensor([0, 1, 2, 0, 1, 2]), 0, torch.randn(6, 3), generator(0))
    found = again(memory)
    assert isinstance(found, Memory)
    for name, value in vars(memory).items():
        assert_same(getattr(found, name), value)


def test_names_with_dots_do_not_meet() -> None:
    value = {
        "a.b": torch.zeros(1),
        "a": {"b": torch.ones(1)},
        1: torch.full((1,), 2.0),
        "1": torch.full((1,), 3.0),
    }
    assert_same(again(value), value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        (1 + 2j, "complex"),
        (b"bytes", "bytes"),
        (Path("x"), "PosixPath"),
        (np.float64(1), "float64"),
        (Point(1, 2), "Point"),
        (OrderedDict(a=1), "OrderedDict"),
        (defaultdict(int), "defaultdict"),
        ({(1, 2): 3}, "dict"),
        ({1.5: 3}, "dict"),
        (Derived(1), "Derived"),
        (len, "builtin_function_or_method"),
        (torch.float32, "dtype"),
        (nn.Linear(1, 1), "Linear"),
    ],
)
def test_what_cannot_come_back_is_refused(value: Any, kind: str) -> None:
    with pytest.raises(
        PackingError, match=rf"run\.state\.0\.x: a checkpoint cannot hold {kind}\. It holds None"
    ):
        pack({"state": [{"x": value}]}, {}, "run")


def test_a_class_that_cannot_be_found_again_is_refused() -> None:
    @dataclass
    class Local:
        a: int

    with pytest.raises(PackingError, match="cannot hold Local.*defined at the top of a module"):
        pack(Local(1), {}, "run")


# --------------------------------------------------------------------------------------------------- hostile forms


def test_modules_of_what_a_run_holds() -> None:
    value = (Outer(Inner({}), 1, generator(0)), {"a": [OptimizerOptions()]}, None)
    assert modules_of(*value) == {__name__, "hypermnesia.core.optim"}


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("os:system", "names the type os:system, which does not belong to this run"),
        ("subprocess:Popen", "does not belong to this run"),
        ("builtins:eval", "does not belong to this run"),
        ("hypermnesiac:Evil", "does not belong to this run"),
        ("dataclasses:field", "does not belong to this run"),
        ("", "does not belong to this run"),
        (
            "hypermnesia.training.loop:Fit",
            "names the type hypermnesia.training.loop:Fit, which does not exist here",
        ),
        ("hypermnesia.training.loop:torch", "does not exist here"),
        ("hypermnesia.core.optim:build", "does not exist here"),
        ("hypermnesia.core.optim:OptimizerOptions.__init__", "does not exist here"),
        ("hypermnesia.nowhere:Nothing", "does not exist here"),
        ("hypermnesia.nowhere:__class__", "does not exist here"),
    ],
)
def test_only_the_runs_own_types_are_made(reference: str, text: str) -> None:
    with pytest.raises(PackingError, match=text):
        unpack({"type": reference, "fields": {}}, {}, frozenset({__name__}), CPU)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"tensor": "nowhere"},
        {"tensor": None},
        {"tensor": "t", "order": [0, 0]},
        {"tensor": "t", "order": [5]},
        {"generator": "t"},
        {"float": "one"},
        {"float": []},
        {"list": 3},
        {"tuple": None},
        {"dict": [[1]]},
        {"dict": [[[1], 2]]},
        {"type": f"{__name__}:Inner"},
        {"type": f"{__name__}:Inner", "fields": {"wrong": 1}},
        {"type": 3, "fields": {}},
        {"type": "hypermnesia.core.optim:OptimizerOptions", "fields": {"lr": -1.0}},
        {"unheard": 1},
        [1, 2],
    ],
    ids=str,
)
def test_forms_that_were_never_written(form: Any) -> None:
    tensors = {"t": torch.zeros(2, 3)}
    with pytest.raises(PackingError, match="holds|names|which does not"):
        unpack(form, tensors, frozenset({__name__}), CPU)


def test_a_form_without_end() -> None:
    form: Any = None
    for _ in range(100_000):
        form = {"list": [form]}
    with pytest.raises(PackingError, match="maximum recursion depth"):
        unpack(form, {}, frozenset(), CPU)
    while form:  # result apart by hand: the interpreter would recurse as deep
        form = form["list"].pop()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from(["t", "rng", "x", "os:system"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tensor", "generator", "float", "tuple", "list", "dict", "type", "fields", "order"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(json_values)
def test_any_json_is_read_or_refused(form: Any) -> None:
    tensors = {"t": torch.zeros(2, 3), "rng": generator(0).get_state()}
    try:
        unpack(form, tensors, frozenset({__name__}), CPU)
    except PackingError:
        pass
