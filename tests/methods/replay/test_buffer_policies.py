"""Which samples stay: each policy against a slow obvious twin that takes one item at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypermnesia.methods.replay.buffer import Memory, Policy, empty, herd, insert, quotas
from hypermnesia.methods.replay.herding import herding


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(capacity: int, policy: Policy = "reservoir") -> Memory:
    """A memory whose samples are the numbers of the items offered."""
    return empty(capacity, (), dtype=torch.int64, policy=policy)


def offer(
    memory: Memory, labels: Sequence[int], task: int, numbers: torch.Generator, batch: int = 10
) -> Iterator[tuple[Tensor, Tensor]]:
    """Insert items numbered on from `memory.seen`; yields (numbers, random numbers) of each batch."""
    for part in torch.tensor(labels).split(batch):
        x = torch.arange(memory.seen, memory.seen + len(part))
        used = torch.rand(len(part), dtype=torch.float64, generator=numbers.clone_state())
        insert(memory, x, part, task, None, numbers)
        yield x, used


def fill(memory: Memory, labels: Sequence[int], task: int, numbers: torch.Generator, batch: int = 10) -> None:
    for _ in offer(memory, labels, task, numbers, batch):
        pass


def held(memory: Memory) -> list[int]:
    return sorted(memory.x[: memory.filled].tolist())


# --- reservoir ---


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_a_batch_enters_the_reservoir_like_its_items_one_by_one(batch: int) -> None:
    memory, numbers = numbered(12), rng()
    slots: list[int] = []
    offered = 0
    for x, used in offer(memory, [0] * 200, 0, numbers, batch):
        for item, uniform in zip(x.tolist(), used.tolist(), strict=True):
            if offered < 12:
                slots.append(item)
            else:
                place = int(uniform * (offered + 1))
                if place < 12:
                    slots[place] = item
            offered += 1
        assert memory.x[: memory.filled].tolist() == slots
        assert (memory.seen, memory.filled) == (offered, min(offered, 12))


def test_every_item_stays_in_the_reservoir_equally_often() -> None:
    capacity, trials, numbers = 20, 600, rng(1)
    kept = np.zeros(10 * capacity)
    for _ in range(trials):
        memory = numbered(capacity)
        fill(memory, [0] * len(kept), 0, numbers, batch=40)
        kept[memory.x.numpy()] += 1
    sigma = (trials * 0.1 * 0.9) ** 0.5
    assert kept.sum() == trials * capacity
    assert np.abs(kept - trials * 0.1).max() < 4 * sigma
    assert kept.std() < 1.2 * sigma


def test_all_parts_of_a_sample_go_to_the_same_slot() -> None:
    memory = empty(5, (2,), outputs=3)
    numbers = rng()
    for start in range(0, 60, 6):
        y = torch.arange(start, start + 6)
        x = torch.stack([y, 2 * y], 1).to(torch.uint8)
        insert(memory, x, y, start // 12, y[:, None] + torch.tensor([0.0, 0.25, 0.5]), numbers)
    assert memory.logits is not None
    assert memory.x.tolist() == [[n, 2 * n] for n in memory.y.tolist()]
    assert memory.task.tolist() == [n // 12 for n in memory.y.tolist()]
    assert memory.logits.tolist() == [[n, n + 0.25, n + 0.5] for n in memory.y.tolist()]


def test_logits_are_stored_without_their_graph_as_float32() -> None:
    memory = empty(2, (), outputs=1)
    x, y = torch.zeros(2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    insert(memory, x, y, 0, torch.tensor([[1.5], [2.5]], dtype=torch.bfloat16, requires_grad=True), rng())
    assert memory.logits is not None
    assert memory.logits.tolist() == [[1.5], [2.5]]
    assert (memory.logits.dtype, memory.logits.requires_grad) == (torch.float32, False)


# --- quotas ---


def exact_quotas(capacity: int, weights: Sequence[Fraction], available: Sequence[int]) -> list[int]:
    if sum(available) <= capacity:
        return list(available)
    shares = [Fraction(capacity) * w / sum(weights) for w in weights]
    short = {c for c, share in enumerate(shares) if available[c] <= share}
    if short:
        others = [c for c in range(len(weights)) if c not in short]
        rest = capacity - sum(available[c] for c in short)
        inner = exact_quotas(rest, [weights[c] for c in others], [available[c] for c in others])
        return [available[c] if c in short else inner[others.index(c)] for c in range(len(weights))]
    whole = [int(share) for share in shares]
    by_remainder = sorted(range(len(weights)), key=lambda c: (whole[c] - shares[c], c))
    for c in by_remainder[: capacity - sum(whole)]:
        whole[c] += 1
    return whole


@given(st.integers(1, 60), st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 10**6))
def test_quotas_equal_exact_arithmetic(capacity: int, available: list[int], seed: int) -> None:
    for weights in (np.ones(len(available)), 0.1 + np.random.default_rng(seed).random(len(available))):
        found = quotas(capacity, weights, np.array(available)).tolist()
        assert found == exact_quotas(capacity, [Fraction(w) for w in weights.tolist()], available)
        assert sum(found) == min(capacity, sum(available))


@pytest.mark.parametrize(
    ("capacity", "appearances", "available", "expected"),
    [
        (70, [4, 2, 1], [100, 100, 100], [10, 20, 40]),
        (10, [1, 2, 4], [100, 100, 100], [6, 3, 1]),
        (10, [1, 1, 1], [9, 9, 9], [4, 3, 3]),
        (10, [1, 1, 1], [9, 2, 9], [4, 2, 4]),
        (2, [1, 1, 1], [5, 5, 5], [1, 1, 0]),
        (50, [1, 1], [3, 4], [3, 4]),
        (10, [1], [40], [10]),
        (10, [1, 3], [2, 30], [2, 8]),
    ],
)
def test_quotas_by_hand(
    capacity: int, appearances: list[int], available: list[int], expected: list[int]
) -> None:
    assert quotas(capacity, 1 / np.array(appearances), np.array(available)).tolist() == expected


# --- class-balanced and frequency-aware ---


def keep_smallest(pool: list[tuple[int, float, int]], quota: dict[int, int]) -> list[tuple[int, float, int]]:
    """Of (class, key, item), those with the smallest keys of their class."""
    return [
        entry
        for entry in pool
        if sum(other[0] == entry[0] and other[1] < entry[1] for other in pool) < quota[entry[0]]
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=8), st.integers(1, 15)
)
def test_class_balanced_equals_one_item_at_a_time(batches: list[list[int]], capacity: int) -> None:
    memory, numbers = numbered(capacity, "class-balanced"), rng()
    pool: list[tuple[int, float, int]] = []
    offered: Counter[int] = Counter()
    for labels in batches:
        for x, used in offer(memory, labels, 0, numbers, batch=12):
            for label, key, item in zip(labels, used.tolist(), x.tolist(), strict=True):
                pool.append((label, key, item))
                present = Counter(entry[0] for entry in pool)
                names = sorted(present)
                room = exact_quotas(capacity, [Fraction(1)] * len(names), [present[c] for c in names])
                pool = keep_smallest(pool, dict(zip(names, room, strict=True)))
        offered.update(labels)
        assert held(memory) == sorted(item for *_, item in pool)
        names = sorted(offered)
        room = exact_quotas(capacity, [Fraction(1)] * len(names), [offered[c] for c in names])
        assert memory.classes() == {c: n for c, n in zip(names, room, strict=True) if n}


@pytest.mark.parametrize("policy", ["class-balanced", "frequency-aware"])
def test_each_class_holds_a_uniform_sample_of_its_items(policy: Policy) -> None:
    """60 items of class 0, then 30 of class 1, 20 slots: kept with 1/6 and 1/3."""
    trials, numbers = 300, rng(2)
    kept = np.zeros(90)
    for _ in range(trials):
        memory = numbered(20, policy)
        fill(memory, [0] * 60, 0, numbers, batch=30)
        fill(memory, [1] * 30, 1, numbers, batch=15)
        kept[memory.x.numpy()] += 1
    for part, chance in ((kept[:60], 1 / 6), (kept[60:], 1 / 3)):
        assert np.abs(part - trials * chance).max() < 4 * (trials * chance * (1 - chance)) ** 0.5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=1, max_size=6),
    st.integers(1, 20),
    st.integers(1, 9),
)
def test_frequency_aware_equals_its_rule_written_out(
    experiences: list[list[int]], capacity: int, batch: int
) -> None:
    memory, numbers = numbered(capacity, "frequency-aware"), rng()
    pool: list[tuple[int, float, int]] = []
    met: dict[int, set[int]] = {}
    for task, labels in enumerate(experiences):
        for x, used in offer(memory, labels, task, numbers, batch):
            start = memory.seen - len(x) - sum(len(e) for e in experiences[:task])
            own = labels[start : start + len(x)]
            for label in own:
                met.setdefault(label, set()).add(task)
            pool += list(zip(own, used.tolist(), x.tolist(), strict=True))
            present = Counter(entry[0] for entry in pool)
            names = sorted(present)
            room = quotas(
                capacity, np.array([1 / len(met[c]) for c in names]), np.array([present[c] for c in names])
            )
            pool = keep_smallest(pool, dict(zip(names, room.tolist(), strict=True)))
            assert held(memory) == sorted(item for *_, item in pool)
            assert memory.filled == min(capacity, memory.seen)


def test_rarer_classes_get_more_slots() -> None:
    memory, numbers = numbered(70, "frequency-aware"), rng()
    for task, classes in enumerate([[0], [0, 1], [0, 1], [0, 2]]):
        fill(memory, classes * 200, task, numbers)
    assert memory.appearances.tolist() == [4, 2, 1]
    assert memory.classes() == {0: 10, 1: 20, 2: 40}


def test_epochs_of_an_experience_count_once() -> None:
    memory, numbers = numbered(9, "frequency-aware"), rng()
    for _ in range(5):
        fill(memory, [0, 1] * 20, 0, numbers)
    fill(memory, [1] * 20, 1, numbers)
    assert memory.appearances.tolist() == [1, 2]


def test_slots_that_an_absent_class_cannot_fill_stay_with_the_others() -> None:
    memory, numbers = numbered(12, "frequency-aware"), rng()
    fill(memory, [0, 1] * 50, 0, numbers)
    assert memory.classes() == {0: 6, 1: 6}
    for task in (1, 2):
        fill(memory, [1] * 50, task, numbers)
    assert memory.appearances.tolist() == [1, 3]  # class 0 is due 9 slots, and has 6 items
    assert memory.classes() == {0: 6, 1: 6}


def test_a_class_with_few_items_leaves_its_slots_to_the_others() -> None:
    memory, numbers = numbered(20, "class-balanced"), rng()
    fill(memory, [0] * 100 + [1] * 3 + [2] * 100, 0, numbers)
    assert memory.classes() == {0: 9, 1: 3, 2: 8}


# --- herding ---


def greedy(features: Tensor, count: int) -> list[int]:
    """iCaRL, algorithm 4, each candidate tried in turn."""
    mean, picks = features.mean(0), []
    for k in range(1, count + 1):
        rest = [i for i in range(len(features)) if i not in picks]
        distances = [(mean - features[[*picks, i]].sum(0) / k).norm().item() for i in rest]
        picks.append(rest[int(np.argmin(distances))])
    return picks


@pytest.mark.parametrize("count", [0, 1, 7, 25])
def test_herding_equals_the_greedy_loop(count: int) -> None:
    features = torch.randn(25, 6, dtype=torch.float64, generator=rng())
    assert herding(features, count).tolist() == greedy(features, count)


def test_herding_keeps_the_first_picks_of_each_class() -> None:
    memory, numbers = numbered(18, "herding"), rng()
    expected: dict[int, list[int]] = {}
    for task, classes in enumerate([[0, 1], [2, 3]]):
        y = torch.tensor(classes * 15)
        x = torch.arange(100 * task, 100 * task + 30)
        features = torch.randn(30, 4, dtype=torch.float64, generator=numbers)
        herd(memory, x, y, task, None, features)
        for label in classes:
            own = y == label
            expected[label] = x[own][greedy(features[own], 9)].tolist()
        sizes = {0: [9, 9], 1: [5, 5, 4, 4]}[task]
        for label, size in enumerate(sizes):
            found = memory.x[memory.y == label][memory.keys[memory.y == label].argsort()]
            assert found.tolist() == expected[label][:size]
    assert (memory.filled, memory.seen) == (18, 60)


def test_herding_gives_unused_slots_to_classes_that_have_items() -> None:
    memory = numbered(10, "herding")
    y = torch.tensor([0] * 3 + [1] * 20)
    herd(memory, torch.arange(23), y, 0, None, torch.randn(23, 2, generator=rng()))
    assert memory.classes() == {0: 3, 1: 7}


# --- ring ---


@pytest.mark.parametrize("batch", [1, 5, 30])
def test_the_ring_keeps_the_latest_of_each_class_of_each_task(batch: int) -> None:
    memory, numbers = numbered(10, "ring"), rng()
    fill(memory, [0, 1] * 20, 0, numbers, batch)
    assert held(memory) == list(range(30, 40))
    fill(
        memory, [0] * 3, 1, numbers, batch
    )  # the same class in another task is another group, with a third of the slots
    assert set(held(memory)) >= {40, 41, 42} and len(held(memory)) == 10
    fill(memory, [0] * 40, 1, numbers, batch)
    own = sorted(range(0, 40), reverse=True)
    latest = [[i for i in own if i % 2 == c] for c in (0, 1)]
    kept = held(memory)
    counts = [len([i for i in kept if i < 40 and i % 2 == c]) for c in (0, 1)]
    assert sorted([*counts, len([i for i in kept if i >= 40])]) == [3, 3, 4]
    assert set(kept) == set(
        latest[0][: counts[0]] + latest[1][: counts[1]] + list(range(82, 82 - 10 + sum(counts), -1))
    )
