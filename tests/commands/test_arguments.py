"""Which seeds to run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypermnesia.commands import arguments
from hypermnesia.commands.arguments import MOST, parse_seeds
from hypermnesia.core.errors import HypermnesiaError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("0,1,2", (0, 1, 2)),
        ("0..4", (0, 1, 2, 3, 4)),
        ("3..3", (3,)),
        ("7, 0..2", (7, 0, 1, 2)),
        (f"0..{MOST - 1}", tuple(range(MOST))),
        (str(2**63 - 1), (2**63 - 1,)),
    ],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "'' is neither a number from 0 on nor a range"),
        ("1,,2", "'' is neither a number"),
        ("-1", "'-1' is neither a number"),
        ("1.5", "'1.5' is neither a number"),
        ("0...3", "'0...3' is neither a number"),
        ("two", "'two' is neither a number"),
        ("٣", "'٣' is neither a number"),
        ("2..0", "the range 2..0 runs backwards"),
        ("0,1,0", "seed 0 occurs twice"),
        ("0..3,2", "seed 2 occurs twice"),
        (f"0..{MOST}", f"these are more than {MOST} seeds"),
        ("0..999999999999", f"these are more than {MOST} seeds"),
        (str(2**63), "is beyond 64 bits"),
        ("9" * 30, "is neither a number"),
    ],
)
def test_garbage_is_told(text, fault):
    with pytest.raises(HypermnesiaError) as error:
        parse_seeds(text)
    assert fault in str(error.value)
    assert str(error.value).endswith("write 0,1,2 or 0..4 (both ends included)")


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (["hnet", "split-mnist"], "split-mnist hnet"),
        (["er"], "split-digits er"),
        (["er", "hnet"], "split-digits er"),
    ],
)
def test_swapped_names_are_recognised(names, right):
    with pytest.raises(HypermnesiaError, match=f"the benchmark comes first: hypermnesia run {right}$"):
        arguments.benchmark_and_approach(names, ("split-digits", "hnet"))


def test_data_lie_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERMNESIA_DATA", str(tmp_path))
    assert arguments.data_dir(None) == tmp_path
    assert arguments.data_dir(None, environment=False) is None
    monkeypatch.setenv("HYPERMNESIA_DATA", "nowhere")
    assert arguments.data_dir(tmp_path) == tmp_path
    with pytest.raises(HypermnesiaError, match="HYPERMNESIA_DATA nowhere is no directory"):
        arguments.data_dir(None)


@given(st.text(alphabet="0123456789., -x", max_size=12))
def test_any_text_gives_seeds_or_an_error(text):
    try:
        seeds = parse_seeds(text)
    except HypermnesiaError:
        return
    assert seeds and len(set(seeds)) == len(seeds) <= MOST
