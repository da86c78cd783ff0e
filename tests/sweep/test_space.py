import math

import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config import parse_words
from hypermnesia.sweep.space import (
    Choice,
    Range,
    corners,
    grid_point,
    parse_space,
    published_words,
    setting_words,
    size,
)


def test_words_become_choices_ranges_and_fixed_settings():
    space, fixed = parse_space(
        [
            "drift.beta=0.01,0.1,1",
            "optimizer.lr=log(1e-4,1)",
            "train.clip=uniform(0,1)",
            "train.batch_size=int(16,256)",
            "net=mlp,lenet",
            "net.hidden=[100,100],[400,400]",
            "train.iterations=20",
            "net.init=xavier",
        ]
    )
    assert space == {
        "drift.beta": Choice((0.01, 0.1, 1)),
        "optimizer.lr": Range("log", 1e-4, 1.0),
        "train.clip": Range("uniform", 0.0, 1.0),
        "train.batch_size": Range("int", 16, 256),
        "net": Choice(("mlp", "lenet")),
        "net.hidden": Choice(([100, 100], [400, 400])),
    }
    assert fixed == ["train.iterations=20", "net.init=xavier"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("beta", "'beta' is no option; write options as key=value"),
        ("beta=", "a value is missing"),
        ("beta=0.1,,1", "a value is missing"),
        ("beta=0.1,0.1", "0.1 occurs twice"),
        ("beta=1,log(1,2)", "a range stands alone; give either it or single values"),
        ("beta=normal(0,1)", "unknown kind of range in 'beta=normal(0,1)': 'normal'"),
        ("beta=log(0,1)", "log starts above 0, not at 0; 0 has no logarithm"),
        ("beta=log(-1,1)", "log starts above 0, not at -1"),
        ("beta=uniform(2,1)", "the range runs backwards; write uniform(1,2)"),
        ("beta=uniform(1,1.0)", "the range is empty; write beta=1"),
        ("beta=int(1,2.5)", "int(LOW,HIGH) takes two whole numbers"),
        ("beta=uniform(1)", "uniform(LOW,HIGH) takes two numbers"),
        ("beta=uniform(1,2,3)", "uniform(LOW,HIGH) takes two numbers"),
        ("beta=log(1e-4,inf)", "the ends of a range must be finite"),
        ("beta=uniform(nan,1)", "the ends of a range must be finite"),
        ("beta=log(1e-4,1", "')' is missing"),
    ],
)
def test_bad_words_are_told(word, said):
    with pytest.raises(HypermnesiaError) as error:
        parse_space([word])
    assert said in str(error.value)


def test_a_setting_is_given_once():
    with pytest.raises(HypermnesiaError, match="beta is given twice; give it once, with all its values"):
        parse_space(["beta=1,2", "beta=3"])


def test_the_grid_is_every_combination_with_the_last_setting_fastest():
    space, _ = parse_space(["a=1,2", "b=x,y,z", "c=[1],[2]"])
    points = [grid_point(space, number) for number in range(12)]
    assert size(space) == 12
    assert points[0] == {"a": 1, "b": "x", "c": [1]} and list(points[0]) == ["a", "b", "c"]
    assert [(p["a"], p["b"], p["c"][0]) for p in points] == [
        (a, b, c) for a in (1, 2) for b in "xyz" for c in (1, 2)
    ]
    assert size(parse_space(["a=1,2", "b=uniform(0,1)"])[0]) is None


def test_published_grids_are_words_too():
    words = published_words({"drift.beta": [0.01, 1], "net.hidden": [[10], [20, 20]], "lr": ["log(1e-4,1)"]})
    space, fixed = parse_space(words)
    assert space["drift.beta"] == Choice((0.01, 1)) and space["net.hidden"] == Choice(([10], [20, 20]))
    assert space["lr"] == Range("log", 1e-4, 1.0) and not fixed
    assert parse_space(published_words({"a": [3]})) == ({}, ["a=3"])


def test_corners_hold_every_value_and_every_end():
    space, _ = parse_space(["a=1,2,3", "b=int(4,9)"])
    assert len(corners(space)) == 6
    assert {(c["a"], c["b"]) for c in corners(space)} == {(a, b) for a in (1, 2, 3) for b in (4, 9)}
    few = corners(space, most=5)
    assert len(few) == 4, "one by one where the combinations are too many"
    assert {c["a"] for c in few} == {1, 2, 3} and {c["b"] for c in few} == {4, 9}


def test_settings_and_words_are_the_same():
    settings = {"a": 0.1, "b": [1, 2], "c": None, "d": "x y", "e": True, "f": math.pi}
    space, fixed = parse_space(setting_words(settings))
    assert not space
    assert parse_words(fixed) == settings
    assert str(Range("log", 1e-4, 1.0)) == "log(0.0001,1.0)"
