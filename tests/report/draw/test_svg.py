import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from hypermnesia.report.draw.svg import el, fitted, text, whole_ticks

sizes = st.floats(-1e100, 1e100)


def test_text_and_attributes_are_escaped() -> None:
    made = el("g", "<script>", Markup("<b/>"), aria_label='"><script>', class_="a", none=None)
    assert made == '<g aria-label="&#34;&gt;&lt;script&gt;" class="a">&lt;script&gt;<b/></g>'
    assert text(1, 2, "a<b") == '<text x="1" y="2" text-anchor="start">a&lt;b</text>'


@given(st.lists(sizes, min_size=1))
def test_fitted_holds_every_value_between_its_round_ends(values: list[float]) -> None:
    scale = fitted(values, 0, 100)
    assert all(-1e-6 <= scale(value) <= 100 + 1e-6 for value in values)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 8
    steps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - round_) for round_ in (1, 2, 5, 10)) < 1e-3


@given(st.lists(st.floats(1e-100, 1e100), min_size=1))
def test_a_log_scale_has_few_ticks_inside(values: list[float]) -> None:
    scale = fitted(values, 0, 100, log=True)
    ticks = scale.ticks()
    assert len(ticks) <= 6
    assert all(scale.low <= tick <= scale.high for tick in ticks)


def test_limits_of_a_fitted_scale() -> None:
    def ends(values: list[float], **limits) -> tuple[float, float]:
        scale = fitted(values, 0, 1, **limits)
        return scale.low, scale.high

    assert ends([3, 97]) == (0, 100)
    assert ends([-30, 102], limits=(0, 100)) == (0, 100)
    assert ends([40, 60], limits=(0, 100)) == (40, 60)
    assert ends([5, 5], low=0) == (0, 5)


@given(st.integers(1, 1000), st.integers(0, 10**9), st.integers(2, 20))
def test_whole_ticks(first: int, more: int, most: int) -> None:
    ticks = whole_ticks(first, first + more, most)
    assert ticks[0] == first and ticks[-1] <= first + more
    assert len(ticks) <= most + 2
    assert ticks == sorted(set(ticks)) and all(tick.is_integer() for tick in ticks)


def test_whole_ticks_by_example() -> None:
    assert whole_ticks(1, 5) == [1, 2, 3, 4, 5]
    assert whole_ticks(1, 20) == [1, 5, 10, 15, 20]
    assert whole_ticks(1, 100) == [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
