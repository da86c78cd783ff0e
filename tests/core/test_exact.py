"""Sums that depend on no order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermnesia.core import exact
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator


def samples(n: int, d: int = 7, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = generator(seed, "exact")
    x = torch.randn(n, d, generator=rng) * torch.rand(n, 1, generator=rng) * 30
    return exact.quantised(x, 12), torch.randint(0, classes, (n,), generator=rng)


def of(q: torch.Tensor, y: torch.Tensor) -> exact.Moments:
    return exact.add(exact.empty(4, q.shape[1]), q, y)


def assert_same(a: exact.Moments, b: exact.Moments) -> None:
    assert torch.equal(a.gram, b.gram) and torch.equal(a.sums, b.sums) and torch.equal(a.counts, b.counts)


def test_the_obvious_sum() -> None:
    q, y = samples(50)
    whole = of(q, y)
    rows = [[int(v) for v in row] for row in q.tolist()]
    assert whole.gram.tolist() == [[sum(r[i] * r[j] for r in rows) for j in range(7)] for i in range(7)]
    assert whole.sums[2].tolist() == [
        sum(r[i] for r, c in zip(rows, y.tolist(), strict=True) if c == 2) for i in range(7)
    ]
    assert whole.counts.sum() == 50 and bool(whole.seen.all())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 60), max_size=6), gone=st.integers(1, 59))
def test_neither_order_nor_split_counts_and_what_is_taken_out_never_was(
    seed: int, cuts: list[int], gone: int
) -> None:
    q, y = samples(60, seed=seed)
    order = torch.randperm(60, generator=generator(seed, "order"))
    shuffled = exact.empty(4, 7)
    for rows in torch.tensor_split(order, sorted(cuts)):
        exact.add(shuffled, q[rows], y[rows])
    assert_same(shuffled, of(q, y))
    left = exact.add(shuffled, q[gone:], y[gone:], sign=-1)
    assert_same(left, of(q[:gone], y[:gone]))


@pytest.mark.parametrize("sign", [1, -1])
def test_blocks_of_columns_change_nothing(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, y = samples(50)
    whole, start = of(q, y), of(*samples(50))
    monkeypatch.setattr(exact, "COLUMNS", 3)
    found = exact.add(start, q, y, sign=sign)
    assert torch.equal(found.gram, (1 + sign) * whole.gram)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_largest_sums_are_exact_too(threads: int) -> None:
    q = torch.full((exact.ROWS + 5, 64), float(exact.MOST), dtype=torch.float64)
    q[::2, 1] = -exact.MOST
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = of(q, torch.zeros(len(q), dtype=torch.int64)).gram
    finally:
        torch.set_num_threads(before)
    assert int(found[0, 0]) == len(q) * exact.MOST**2
    assert int(found[0, 1]) == -1 * exact.MOST**2  # one more of one sign than of the other


def test_projections_are_whole_numbers_of_twenty_bits() -> None:
    q, _ = samples(9, d=5)
    weight = torch.randint(-255, 256, (5, 11), generator=generator(0, "w")).double()
    found = exact.projected(q, weight, 6)
    rows, columns = q.long().tolist(), weight.long().T.tolist()
    expected = [
        [min(max(sum(a * b for a, b in zip(r, c, strict=True)), 0) >> 6, exact.MOST) for c in columns]
        for r in rows
    ]
    assert found.long().tolist() == expected


def test_what_cannot_be_is_refused() -> None:
    q, y = samples(3)
    with pytest.raises(HypermnesiaError, match="taken out that were never put in"):
        exact.add(exact.empty(4, 7), q, y, sign=-1)
    many = exact.empty(4, 7)
    many.counts[0] = exact.MOST_SAMPLES
    with pytest.raises(HypermnesiaError, match="cannot be summed up exactly"):
        exact.add(many, q, y)


def test_more_classes() -> None:
    q, y = samples(20)
    wide = exact.grown(of(q, y), 6)
    assert wide.sums.shape == (6, 7) and wide.counts.tolist()[4:] == [0, 0]
    assert exact.grown(wide, 5) is wide
