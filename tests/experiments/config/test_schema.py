import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config import (
    build,
    fill,
    from_toml,
    keys,
    parse_words,
    resolve_keys,
    to_toml,
    tree,
)
from hypermnesia.experiments.config.words import write_value


@dataclass(frozen=True, kw_only=True)
class Schedule:
    at: tuple[int, ...] = ()
    gamma: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    name: Literal["adam", "sgd", "none"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = Schedule(at=(5,))

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise HypermnesiaError(f"lr={self.lr} must be positive")
        if self.name == "sgd" and self.betas[0] == 0:
            raise HypermnesiaError("optimizer.betas are Adam's")


@dataclass(frozen=True, kw_only=True)
class Net:
    hidden: tuple[int, ...] = (400, 400)
    activation: str = "relu"
    cut: str | None = None
    bias: bool = True
    dropout: float = 0.0
    limit: float = math.inf
    ahead: Schedule | None = None

    def __post_init__(self) -> None:
        if min(self.hidden, default=1) < 1:
            raise ValueError("a layer has at least one unit")


@dataclass(frozen=True, kw_only=True)
class Stream:
    tasks: int
    seed: int | None = None


SECTIONS = {"net": Net(), "optimizer": Optimizer(lr=0.01), "stream": Stream}


def test_sections_take_values():
    filled = fill(
        SECTIONS,
        {
            "net.hidden": [100],
            "optimizer": {"lr": 1, "schedule.gamma": 0.5},
            "stream.tasks": 5,
            "net.bias": False,
        },
    )
    assert filled == {
        "net": Net(hidden=(100,), bias=False),
        "optimizer": Optimizer(lr=1.0, schedule=Schedule(at=(5,), gamma=0.5)),
        "stream": Stream(tasks=5),
    }
    assert list(filled) == ["net", "optimizer", "stream"]
    assert SECTIONS["optimizer"] == Optimizer(lr=0.01)


def test_an_instance_keeps_what_is_not_said():
    default = Optimizer(lr=0.5, schedule=Schedule(at=(1, 2)))
    assert build(default, {"schedule": {"gamma": 0.2}}) == replace(
        default, schedule=Schedule(at=(1, 2), gamma=0.2)
    )
    assert build(default, {}) == default
    assert build(Optimizer, {}) == Optimizer()


def test_the_default_decides_the_type_of_a_field():
    @dataclass(frozen=True)
    class Config:
        net: object = Net()

    assert build(Config(net=Schedule(gamma=1.0)), {"net.at": [3]}) == Config(net=Schedule(at=(3,), gamma=1.0))


def test_options_that_may_be_left_out():
    assert build(Net(), {"ahead.gamma": 1}) == Net(ahead=Schedule(gamma=1.0))
    assert build(Net(ahead=Schedule()), {"ahead": None}) == Net()
    assert build(Net(ahead=Schedule(gamma=3.0)), {"ahead.at": [1]}) == Net(ahead=Schedule(at=(1,), gamma=3.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"net.hiden": 1},
            "unknown key 'net.hiden'; did you mean 'net.hidden'? known: net.activation, net.ahead, ",
        ),
        ({"nets.hidden": 1}, "unknown key 'nets'; did you mean 'net"),
        (
            {"optimizer.schedule.gama": 1},
            "unknown key 'optimizer.schedule.gama'; did you mean 'optimizer.schedule.ga",
        ),
        ({"net.hidden": 400}, "net.hidden: expected [integer, ...], got integer 400; write a list as [400]"),
        (
            {"optimizer.name": "adan"},
            "unknown optimizer.name 'adan'; did you mean 'adam'? known: adam, none, sgd",
        ),
        ({"optimizer.betas": [0.9]}, "optimizer.betas: expected [number, number], got list [0.9]"),
        ({"net.dropout": math.inf}, "net.dropout: expected number, got number inf; it must be finite"),
        (
            {"net": "mlp"},
            "net takes no value; set its options: net.hidden, net.activation, net.cut, net.bias, ",
        ),
        (
            {"optimizer.schedule": 1},
            "optimizer.schedule takes no value; set its options: optimizer.schedule.at, ",
        ),
        ({"net.bias.x": 1}, "net.bias: expected true | false, got keys x"),
        ({}, "stream.tasks must be given: integer"),
        ({"optimizer.lr": 0}, "optimizer: lr=0.0 must be positive"),
        ({"optimizer": {"name": "sgd", "betas": [0, 0]}}, "optimizer.betas are Adam's"),
        ({"net.hidden": [0]}, "net: a layer has at least one unit"),
        ({"net": {"bias": True}, "net.bias": True}, "net.bias is given twice; give it once"),
        (
            {"net": 1, "net.bias": True},
            "net.bias lies below net, which has a value of its own; give one of the two",
        ),
        (
            {"net.ahead": None, "net.ahead.at": []},
            "net.ahead.at lies below ahead, which has a value of its own; ",
        ),
    ],
)
def test_errors_name_the_key(values, message):
    with pytest.raises(HypermnesiaError) as caught:
        fill(SECTIONS, values)
    assert str(caught.value).startswith(message)


def test_a_section_is_a_dataclass():
    with pytest.raises(TypeError, match="a section of the configuration is a dataclass, not 3"):
        fill({"net": 3}, {"net.x": 1})


def test_trees_hold_plain_values():
    plain = tree({"net": Net(cut="none", ahead=Schedule(at=(1,))), "drift": None, "k": 1})
    assert plain == {
        "net": {
            "hidden": [400, 400],
            "activation": "relu",
            "cut": None,
            "bias": True,
            "dropout": 0.0,
            "limit": math.inf,
            "ahead": {"at": [1], "gamma": 0.1},
        },
        "drift": None,
        "k": 1,
    }
    assert tree(Schedule()) == {"at": [], "gamma": 0.1}
    with pytest.raises(TypeError, match="a configuration holds no complex: 1j"):
        tree({"x": 1j})


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCHEDULES = st.builds(Schedule, at=st.lists(st.integers(-9, 9)).map(tuple), gamma=FINITE)
NETS = st.builds(
    Net,
    hidden=st.lists(st.integers(1, 2**40), max_size=3).map(tuple),
    activation=TEXTS | st.just("none"),
    cut=st.none() | TEXTS.filter(lambda text: text != "none"),
    bias=st.booleans(),
    dropout=FINITE,
    limit=FINITE,
    ahead=st.none() | SCHEDULES,
)
OPTIMIZERS = st.builds(
    Optimizer,
    name=st.sampled_from(["adam", "sgd", "none"]),
    lr=st.floats(1e-9, 1e9),
    betas=st.tuples(st.floats(0.1, 1), FINITE),
    schedule=SCHEDULES,
)
STREAMS = st.builds(Stream, tasks=st.integers(0, 9), seed=st.none() | st.integers(0, 9))
FILLED = st.builds(dict, net=NETS, optimizer=OPTIMIZERS, stream=STREAMS)


@given(FILLED)
def test_a_saved_configuration_is_read_back(sections):
    saved = to_toml(tree(sections))
    read = fill(SECTIONS, from_toml(saved))
    assert read == sections
    assert to_toml(tree(read)) == saved


@given(FILLED)
def test_words_say_as_much_as_a_file(sections):
    words = [
        f"{key}={write_value(value)}"
        for key, value in _leaves(sections)
        if not (key == "net.ahead" and sections["net"].ahead)
    ]
    assert fill(SECTIONS, parse_words(words)) == sections


def _leaves(sections):
    for name, section in sections.items():
        for key in keys(section):
            value = section
            for part in key.split("."):
                value = None if value is None else getattr(value, part)
            if not key.startswith("ahead.") or section.ahead is not None:
                yield f"{name}.{key}", value


PARTS = st.sampled_from(
    ["net", "optimizer", "stream", "hidden", "betas", "lr", "schedule", "at", "tasks", "x", ""]
)
ANY_KEY = st.lists(PARTS, min_size=1, max_size=3).map(".".join)
ANY_VALUE = st.sampled_from(["1", "-0.5", "nan", "true", "none", "adam", "[]", "[1,2]", "[[a]]", "''", "1,2"])
ANY_WORD = st.builds("{}={}".format, ANY_KEY, ANY_VALUE | st.text(max_size=5))


@given(st.lists(ANY_WORD, max_size=3))
def test_arbitrary_words_give_sections_or_an_error_for_the_user(words):
    try:
        values = resolve_keys(parse_words(words), SECTIONS)
        filled = fill(SECTIONS, {"stream.tasks": 1} | values)
    except HypermnesiaError as error:
        assert str(error)
    else:
        assert {name: type(section) for name, section in filled.items()} == {
            "net": Net,
            "optimizer": Optimizer,
            "stream": Stream,
        }
        assert asdict(filled["stream"])["tasks"] is not None
