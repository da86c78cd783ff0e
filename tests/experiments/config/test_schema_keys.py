from dataclasses import MISSING, dataclass, field
from typing import ClassVar, Literal

import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config import FieldInfo, keys, resolve_key, resolve_keys


@dataclass(frozen=True)
class Memory:
    size: int = 200
    """Samples kept in all, ≥ 1."""


@dataclass(frozen=True)
class Penalty:
    beta: float = 0.01
    """Strength of the penalty,
    ≥ 0 (eq. 2)."""
    note: ClassVar[str] = "not an option"
    ahead: Memory | None = None
    """What follows a blank line belongs to no field."""

    "No docstring: something stands between."


@dataclass(frozen=True)
class Method(Penalty):
    alpha: float = field(default_factory=lambda: 0.5)
    memory: Memory = Memory(size=10)
    kind: Literal["random", "previous"] = "random"
    """Inherits the others."""
    rate: float = field(kw_only=True)


def test_keys_of_one_dataclass():
    assert keys(Method) == {
        "beta": FieldInfo("number", 0.01, "Strength of the penalty, ≥ 0 (eq. 2)."),
        "ahead": FieldInfo("none", None, "What follows a blank line belongs to no field."),
        "ahead.size": FieldInfo("integer", 200, "Samples kept in all, ≥ 1."),
        "alpha": FieldInfo("number", 0.5, ""),
        "memory.size": FieldInfo("integer", 10, "Samples kept in all, ≥ 1."),
        "kind": FieldInfo("random | previous", "random", "Inherits the others."),
        "rate": FieldInfo("number", MISSING, ""),
    }
    assert [key for key, info in keys(Method).items() if info.required] == ["rate"]


def test_keys_of_sections():
    found = keys({"drift": Penalty, "method": Method(rate=3.0, memory=Memory(size=7)), "empty": Empty})
    assert list(found) == [
        "drift.beta",
        "drift.ahead",
        "drift.ahead.size",
        "method.beta",
        "method.ahead",
        "method.ahead.size",
        "method.alpha",
        "method.memory.size",
        "method.kind",
        "method.rate",
    ]
    assert found["method.memory.size"].default == 7
    assert found["method.rate"].default == 3.0


@dataclass(frozen=True)
class Empty:
    pass


def test_a_class_without_source_has_no_docs():
    scope = {"dataclass": dataclass, "__name__": "__main__"}
    exec("@dataclass(frozen=True)\nclass Made:\n    x: int = 1\n    'Of no file.'", scope)
    assert keys(scope["Made"]) == {"x": FieldInfo("integer", 1, "")}


KNOWN = [
    "drift.beta",
    "method.beta",
    "method.memory.size",
    "net.size",
    "train.iterations",
    "drift",
    "memory.size",
]


@pytest.mark.parametrize(
    ("key", "full"),
    [
        ("drift.beta", "drift.beta"),
        ("drift", "drift"),
        ("iterations", "train.iterations"),
        ("memory.size", "memory.size"),
    ],
)
def test_keys_may_be_shortened(key, full):
    assert resolve_key(key, KNOWN) == full


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("beta", "key 'beta' may mean drift.beta or method.beta; write one of these"),
        ("size", "key 'size' may mean memory.size or method.memory.size or net.size; write one of these"),
        ("iteration", "unknown key 'iteration'; did you mean 'train.iterations'? known: drift, drift.beta, "),
        ("drft.beta", "unknown key 'drft.beta'; did you mean 'drift.beta'? known: drift, drift.beta, "),
        ("eta", "unknown key 'eta'; did you mean 'drift.beta'? known: drift, drift.beta, "),
        (
            "xyz",
            "unknown key 'xyz'; known: drift, drift.beta, memory.size, method.beta, method.memory.size, ",
        ),
    ],
)
def test_key_errors_list_what_there_is(key, message):
    with pytest.raises(HypermnesiaError) as caught:
        resolve_key(key, KNOWN)
    assert str(caught.value).startswith(message)


def test_resolving_several():
    sections = {"drift": Penalty, "net": Memory}
    assert resolve_keys({"beta": 1, "net.size": 2}, sections) == {"drift.beta": 1, "net.size": 2}
    with pytest.raises(
        HypermnesiaError, match="^drift.beta is given twice, as 'drift.beta' and as 'beta'; give it once"
    ):
        resolve_keys({"drift.beta": 1, "beta": 2}, sections)


def test_of_very_many_keys_only_those_like_it_are_listed():
    known = [f"section{i}.width" for i in range(50)] + ["train.iterations"]
    with pytest.raises(HypermnesiaError) as error:
        resolve_key("iteration", known)
    said = "unknown key 'iteration'; did you mean 'train.iterations'? known: train.iterations and 50 more: "
    assert str(error.value) == said + "hypermnesia list options APPROACH"
