import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.plan import SweepOptions


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "sweep.trials=0: expected integer >= 1 | none"),
        ({"protocol": "validate"}, "unknown sweep.protocol 'validate'; did you mean 'validation'?"),
        ({"protocol": "transfer"}, "the protocol transfer needs the benchmark to tune on"),
        ({"transfer": "split-digits"}, "the protocol transfer needs the benchmark to tune on"),
        ({"seeds": ()}, "give at least one seed, each once"),
        ({"seeds": (1, 1)}, "give at least one seed, each once"),
    ],
)
def test_bad_options_are_told(options, said):
    with pytest.raises(HypermnesiaError) as error:
        SweepOptions(**options)
    assert said in str(error.value)


def test_the_winner_gets_seeds_that_no_trial_has():
    assert SweepOptions(seeds=(3, 1), final_seeds=2).fresh_seeds == (4, 5)
    assert SweepOptions(final_seeds=0).fresh_seeds == ()


def test_the_algorithm_follows_from_the_space_and_the_trials():
    assert SweepOptions().plan(6) == ("grid", 6)
    assert SweepOptions(trials=9).plan(6) == ("grid", 6)
    assert SweepOptions(trials=5).plan(6) == ("tpe", 5)
    assert SweepOptions().plan(None) == ("tpe", 24)
    assert SweepOptions(algorithm="random").plan(6) == ("random", 24)
    with pytest.raises(HypermnesiaError, match="a grid has no ranges; list the values to try"):
        SweepOptions(algorithm="grid").plan(None)
    with pytest.raises(HypermnesiaError, match="the grid has 6 points and trials=5: leave trials out"):
        SweepOptions(algorithm="grid", trials=5).plan(6)
