import hashlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config import from_toml, sha256, to_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text != "none")
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
TREES = st.recursive(
    st.dictionaries(TEXTS, VALUES, max_size=4),
    lambda inner: st.dictionaries(TEXTS, VALUES | inner, max_size=4),
    max_leaves=4,
)


def test_text():
    tree = {
        "net": {"hidden": [400, 400], "cut": None, "init": {"gain": 1.0}},
        "benchmark": 'a "b"',
        "method": {},
        "weights": {"frozen": ["layer4.*"], "a key": True, "lr": 1e-05},
    }
    assert to_toml(tree) == (
        'benchmark = "a \\"b\\""\n'
        '\n[net]\nhidden = [400, 400]\ncut = "none"\n'
        "\n[net.init]\ngain = 1.0\n"
        "\n[method]\n"
        '\n[weights]\nfrozen = ["layer4.*"]\n"a key" = true\nlr = 1e-05\n'
    )
    assert to_toml({"net": {"width": 1}}) == "[net]\nwidth = 1\n"


@given(TREES)
@example({"a": {"b": {}, "c": None}, "d": [None, [math.inf, -0.0]], "": "\x00\x7f\u2028\U0010ffff\r"})
def test_round_trip(tree):
    assert repr_of(from_toml(to_toml(tree))) == repr_of(tree)


def repr_of(tree):
    """Tells 1 from 1.0 and from true, as == does not; the order of a table's keys does not count."""
    if isinstance(tree, dict):
        return sorted((key, repr_of(value)) for key, value in tree.items())
    return repr(tree)


def test_not_a_number_survives():
    value = from_toml(to_toml({"x": math.nan}))["x"]
    assert isinstance(value, float) and math.isnan(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "run.toml is not valid TOML: Invalid value"),
        ("a = 1\na = 2", "run.toml is not valid TOML: Cannot overwrite a value"),
        ("a = " + "[" * 5000, "run.toml is not valid TOML: "),
        ("[a]\nb = [2026-01-01]", "run.toml: a.b is a date or a time; quote it if it is text"),
        ("a = 0xffffffffffffffff", "run.toml: a is an integer beyond 64 bits; quote it if it is text"),
        ("a = " + "1" * 5000, "run.toml is not valid TOML: "),
        ("a." * 20 + "a = 1", f"run.toml: {'.'.join('a' * 17)} lies deeper than 16 levels"),
    ],
)
def test_errors_name_the_place(text, message):
    with pytest.raises(HypermnesiaError) as caught:
        from_toml(text, "run.toml")
    assert str(caught.value).startswith(message)


@given(st.text())
def test_arbitrary_text_raises_nothing_else(text):
    try:
        from_toml(text)
    except HypermnesiaError as error:
        assert str(error).startswith("TOML text")


def test_what_toml_cannot_hold():
    with pytest.raises(
        HypermnesiaError, match=r"'\\udc80' is not Unicode text, so that it cannot be written"
    ):
        to_toml({"a": "\udc80"})
    with pytest.raises(HypermnesiaError, match="an integer beyond 64 bits cannot be written as TOML"):
        to_toml({"a": 2**63})
    with pytest.raises(TypeError, match=r"a configuration holds no set: \{1\}"):
        to_toml({"a": {1}})


def test_hash_is_that_of_canonical_json():
    expected = hashlib.sha256(b'{"a.b":[1,2.5],"a.c":null,"d":"\\u00e9"}').hexdigest()
    assert sha256({"d": "é", "a": {"c": None, "b": [1, 2.5]}}) == expected


def test_hash_depends_on_values_alone():
    tree = {"seed": 1, "net": {"width": 8, "cut": None}, "track": {"to": "csv", "dir": "x"}}
    assert sha256(tree) == sha256(from_toml(to_toml(tree)))
    assert sha256(tree) != sha256({**tree, "seed": 2})
    assert sha256(tree) != sha256({**tree, "seed": 1.0})
    assert sha256(tree) != sha256({**tree, "more": 0})


def test_hash_leaves_out_what_it_is_told_to():
    tree = {"seed": 1, "net": {"width": 8}, "track": {"to": "csv"}}
    bare = sha256({"net": {"width": 8}})
    assert sha256(tree, exclude=["seed", "track.*"]) == bare
    assert sha256(tree, exclude=["SEED", "track.*"]) != bare


@given(TREES)
def test_hash_survives_a_file(tree):
    assert sha256(from_toml(to_toml(tree))) == sha256(tree)
