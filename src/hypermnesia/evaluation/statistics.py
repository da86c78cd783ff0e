"""Numbers over several seeds: means with intervals, and paired differences."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np

from hypermnesia.evaluation.metrics import _mean

# --- over seeds ---


class Statistics(TypedDict):
    """A number over several seeds."""

    mean: float | None
    std: float | None
    """Sample standard deviation (divisor n − 1); None for n < 2."""
    ci95: float | None
    """Half-width of the 95 % confidence interval of the mean (Student's t, n − 1); None for n < 2."""
    n: int


class PairedDifference(Statistics):
    """A difference over paired seeds."""

    p: float | None
    """Two-sided p-value of the paired t test; None for n < 2; without spread 1 if the mean is 0, else 0."""


def statistics(values: Iterable[float | None]) -> Statistics:
    """Mean, spread and interval of one metric over seeds; undefined values (None, NaN) are left out."""
    known = np.array([v for v in values if v is not None and not np.isnan(v)], dtype=np.float64)
    n = len(known)
    if n < 2:
        return {"mean": _mean(known), "std": None, "ci95": None, "n": n}
    from scipy.special import stdtrit  # heavy: only where it is used

    std = float(known.std(ddof=1))
    return {"mean": _mean(known), "std": std, "ci95": float(stdtrit(n - 1, 0.975)) * std / n**0.5, "n": n}


def paired_difference(a: Sequence[float | None], b: Sequence[float | None]) -> PairedDifference:
    """a − b over runs that share their seeds; pairs a[i], b[i] with an undefined side are left out."""
    if len(a) != len(b):
        raise ValueError(
            f"paired_difference: {len(a)} values against {len(b)}; give one value of each side per seed"
        )
    found = statistics([None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)])
    mean, std, n = found["mean"], found["std"], found["n"]
    if mean is None or std is None:
        return {**found, "p": None}
    if std == 0:
        return {**found, "p": 1.0 if mean == 0 else 0.0}
    from scipy.special import stdtr

    return {**found, "p": float(2 * stdtr(n - 1, -abs(mean) / (std / n**0.5)))}
