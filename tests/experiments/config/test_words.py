import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config import parse_words, split_variants, variants
from hypermnesia.experiments.config.words import write_value

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("400", 400),
        ("-1_000", -1000),
        ("+3", 3),
        ("0.1", 0.1),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("2.", 2.0),
        ("-inf", -math.inf),
        ("true", True),
        ("False", False),
        ("none", None),
        ("null", None),
        ("adam", "adam"),
        ("it's", "it's"),
        ("layer4.*", "layer4.*"),
        ("layer[0-9].weight", "layer[0-9].weight"),
        ("sqlite:///a=b.db", "sqlite:///a=b.db"),
        ("1.2.3", "1.2.3"),
        ("'400'", "400"),
        ('"a, \\"b\\"\\n"', 'a, "b"\n'),
        ("[]", []),
        ("[400,400]", [400, 400]),
        (" [ 1 , 0.5,] ", [1, 0.5]),
        ("[a,'b,c',[none,true]]", ["a", "b,c", [None, True]]),
    ],
)
def test_values(text, value):
    [(key, parsed)] = parse_words([f"net.hidden={text}"]).items()
    assert key == "net.hidden"
    assert parsed == value and type(parsed) is type(value)


def test_nan_is_a_number():
    value = parse_words(["x=nan"])["x"]
    assert isinstance(value, float) and math.isnan(value)


def test_words_keep_their_order():
    words = ["drift.beta=0.1", "net=mlp", "beta = 2"]
    assert list(parse_words(words).items()) == [("drift.beta", 0.1), ("net", "mlp"), ("beta", 2)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["beta"], "'beta' is no option; write options as key=value, such as drift.beta=0.1"),
        (["=1"], "'=1' is no option; write options as key=value, such as drift.beta=0.1"),
        (["a..b=1"], "'a..b=1' is no option; write options as key=value, such as drift.beta=0.1"),
        (["a=1", "a=2"], "a is given twice; give it once"),
        (["a="], "'a=': a value is missing; write empty text as '\"\"'"),
        (["a=[1,,2]"], "'a=[1,,2]': a value is missing; write empty text as '\"\"'"),
        (
            ["a=1,2"],
            "'a=1,2': bare commas make variants, and here one value is expected; "
            "write a list as a=[1,2], text as a='\"1,2\"'",
        ),
        (["a=[1,2"], "'a=[1,2': ']' is missing; quote text with brackets"),
        (["a=:)"], "'a=:)': ')' closes nothing; quote text with brackets"),
        (["a=[1]x"], "'a=[1]x': a list ends with ]; quote text that begins with a bracket"),
        (["a='b"], "\"a='b\": the quote ' is not closed"),
        (["a='b'c"], "\"a='b'c\": text goes on after its closing quote"),
        (
            ["a=9223372036854775808"],
            "'a=9223372036854775808': an integer beyond 64 bits; quote it if it is text",
        ),
        (["a=\udc80"], "'a=\\udc80' holds bytes that are not UTF-8; rename what it names"),
        (["a=" + "[" * 17 + "]" * 17], f"'a={'[' * 17}{']' * 17}': more than 16 brackets inside one another"),
    ],
)
def test_errors_say_what_to_write(words, message):
    with pytest.raises(HypermnesiaError) as caught:
        parse_words(words)
    assert str(caught.value) == message


def test_escapes_are_those_of_toml():
    with pytest.raises(HypermnesiaError, match=r"not quoted as in TOML: "):
        parse_words([r'a="\q"'])


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("cut=none,layer1,layer2", ["cut=none", "cut=layer1", "cut=layer2"]),
        ("net.hidden=[100,100],[400,400]", ["net.hidden=[100,100]", "net.hidden=[400,400]"]),
        ("name='a,b', c", ["name='a,b'", "name=c"]),
        ("batch=int(16,256)", ["batch=int(16,256)"]),
        ("lr=1", ["lr=1"]),
    ],
)
def test_bare_commas_make_variants(word, words):
    assert split_variants(word) == words


def test_variants_combine_in_order():
    assert variants(["net=mlp,lenet", "lr=1", "beta=0,1"]) == [
        ["net=mlp", "lr=1", "beta=0"],
        ["net=mlp", "lr=1", "beta=1"],
        ["net=lenet", "lr=1", "beta=0"],
        ["net=lenet", "lr=1", "beta=1"],
    ]
    assert variants([]) == [[]]


@given(VALUES)
@example("none")
@example("1e5")
@example("Inf")
@example("[a")
@example([["a,b"], "", -0.0])
def test_written_values_are_read_back(value):
    parsed = parse_words([f"key={write_value(value)}"])["key"]
    assert repr(parsed) == repr(value)  # tells 1 from 1.0 and from true, 0.0 from -0.0, and "none" from None


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_written_values_are_one_variant_each(values):
    words = [f"key={write_value(value)}" for value in values]
    joined = "key=" + ",".join(write_value(value) for value in values)
    assert split_variants(joined) == words


AWKWARD = st.text(st.sampled_from("ab=.,[]()'\"\\ 01e-_\n\u00e9\udc80"), max_size=20)


@given(st.lists(st.text(max_size=20) | AWKWARD | AWKWARD.map(lambda text: f"a={text}"), max_size=4))
def test_arbitrary_words_raise_nothing_else(words):
    for read in (parse_words, variants):
        try:
            read(words)
        except HypermnesiaError as error:
            assert str(error)
