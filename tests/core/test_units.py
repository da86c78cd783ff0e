import pytest

from hypermnesia.core import units


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0.94214, "94.21"), (1.0, "100.00"), (0.0, "0.00"), (-0.00001, "0.00"), (-0.052, "−5.20"), (None, "–")],
)
def test_percent(fraction: float | None, shown: str) -> None:
    assert units.percent(fraction) == shown


def test_interval_without_a_second_seed_is_the_mean_alone() -> None:
    assert units.interval(0.9421, 0.003) == "94.21 ± 0.30"
    assert units.interval(0.9421, None) == "94.21"
    assert units.interval(0.052, 0.001, signed=True) == "+5.20 ± 0.10"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1.00 k"),
        (84_210, "84.2 k"),
        (1_234_567, "1.23 M"),
        (1e30, "1.00e+30"),
    ],
)
def test_count(value: float, shown: str) -> None:
    assert units.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(512, "512 B"), (4.1e6, "4.10 MB"), (3e12, "3.00 TB"), (None, "–")]
)
def test_size(value: float | None, shown: str) -> None:
    assert units.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.0213, "21.3 ms"),
        (7.5, "7.50 s"),
        (59.96, "1 min 00 s"),
        (75, "1 min 15 s"),
        (3599.9, "1 h 00 min"),
        (3780, "1 h 03 min"),
        (1e12, "1.00e+12 s"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert units.duration(seconds) == shown


@pytest.mark.parametrize(
    ("unit", "mean", "half", "shown"),
    [
        (units.duration, 13.8, 0.682, "13.8 ± 0.7 s"),
        (units.duration, 75, 3.4, "1 min 15 s ± 3 s"),
        (units.size, 4.1e6, 2e5, "4.10 ± 0.20 MB"),
        (units.count, 84_210, 0, "84.2 k"),
        (units.count, 120, 4.4, "120 ± 4"),
        (units.count, None, None, "–"),
    ],
)
def test_spread_names_the_unit_once(unit, mean: float | None, half: float | None, shown: str) -> None:
    assert units.spread(unit, mean, half) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(20.0, "20"), (0.1 + 0.2, "0.3"), (25_000, "25k"), (2e6, "2M"), (-40, "−40"), (1e20, "1e+20")],
)
def test_tick(value: float, shown: str) -> None:
    assert units.tick(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0 B"), (1000, "1 kB"), (2e6, "2 MB"), (5e11, "500 GB")])
def test_size_tick(value: float, shown: str) -> None:
    assert units.size_tick(value) == shown
