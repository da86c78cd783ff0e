import re

import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import StreamOptions


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("tasks", 0, "a whole number of at least 1"),
        ("classes_per_task", -2, "a whole number of at least 1"),
        ("samples_per_task", 0, "a whole number of at least 1"),
        ("size", 0, "pixels, 1 to 4096"),
        ("size", 5000, "pixels, 1 to 4096"),
        ("length", 0, "tokens, 1 to 65536"),
        ("vocabulary", 1, "a number of ids, 2 to 2147483648"),
        ("validation", 1.0, "a fraction between 0 and 1"),
        ("blurry", 0.0, "a fraction between 0 and 1"),
        ("order", "sorted", "'label', 'seed' or a list of class ids"),
        ("recurrence", 1.5, "a fraction, 0 to 1"),
        ("occurrence", 0.0, "a probability above 0, at most 1"),
        ("interpolation", "cubic", "'nearest' or 'bilinear'"),
        ("normalize", "z", "'unit', 'standard' or 'imagenet'"),
    ],
)
def test_values_out_of_range(field: str, value: object, expected: str):
    text = f"stream.{field} is {value!r}; expected {expected}"
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        StreamOptions(**{field: value})


def test_given_options_cover_defaults_also_with_false_and_zero():
    defaults = StreamOptions(tasks=5, augment=True, seed=3)
    chosen = StreamOptions(augment=False, seed=0, size=8).over(defaults)
    assert chosen == StreamOptions(tasks=5, augment=False, seed=0, size=8)
