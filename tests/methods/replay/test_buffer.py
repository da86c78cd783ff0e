"""What a memory holds, draws, stores and refuses; which samples stay is in test_memory_policies.py."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.methods.replay import buffer as memories
from hypermnesia.methods.replay.buffer import Memory, Policy, draw, empty, herd, insert


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(capacity: int, policy: Policy = "reservoir") -> Memory:
    """A memory whose samples are the numbers of the items offered."""
    return empty(capacity, (), dtype=torch.int64, policy=policy)


def fill(memory: Memory, labels: Sequence[int], task: int, numbers: torch.Generator) -> None:
    """Insert items numbered on from `memory.seen`, ten at a time."""
    for y in torch.tensor(labels).split(10):
        insert(memory, torch.arange(memory.seen, memory.seen + len(y)), y, task, None, numbers)


# --- drawing ---


def some(capacity: int = 8, tasks: Sequence[int] = (0, 0, 0, 0, 1, 1, 2, 2)) -> Memory:
    """Item n has class n, the given task and the logits (n, n)."""
    memory, numbers = empty(capacity, (), dtype=torch.int64, outputs=2), rng()
    for n, task in enumerate(tasks):
        insert(memory, torch.tensor([n]), torch.tensor([n]), task, torch.full((1, 2), float(n)), numbers)
    return memory


def test_a_draw_holds_whole_distinct_samples() -> None:
    memory, numbers = some(), rng()
    drawn = draw(memory, 5, numbers)
    assert len(set(drawn.x.tolist())) == 5
    assert drawn.y.tolist() == drawn.x.tolist() == memory.x[drawn.index].tolist()
    assert drawn.logits is not None and drawn.logits.tolist() == [[n, n] for n in drawn.x.tolist()]


def test_a_draw_holds_at_most_what_is_there() -> None:
    memory = some(capacity=20)
    assert sorted(draw(memory, 100, rng()).x.tolist()) == list(range(8))
    nothing = draw(empty(3, (1, 2, 2)), 4, rng())
    assert nothing.x.shape == (0, 1, 2, 2)
    assert (len(nothing.y), len(nothing.index), nothing.logits) == (0, 0, None)


def test_draws_are_uniform_at_every_place() -> None:
    memory, numbers, trials = some(), rng(3), 3000
    counts = np.zeros((3, 8))
    for _ in range(trials):
        counts[np.arange(3), draw(memory, 3, numbers).x.numpy()] += 1
    assert np.abs(counts - trials / 8).max() < 4 * (trials / 8 * 7 / 8) ** 0.5


def test_the_same_generator_state_draws_the_same_samples() -> None:
    memory = some()
    assert draw(memory, 4, rng(5)).index.tolist() == draw(memory, 4, rng(5)).index.tolist()
    assert draw(memory, 4, rng(5)).index.tolist() != draw(memory, 4, rng(6)).index.tolist()


def test_a_draw_by_task_has_an_equal_slice_of_each() -> None:
    memory, numbers = some(), rng()
    for _ in range(20):
        drawn = draw(memory, 7, numbers, by_task=[2, 0])
        assert memory.task[drawn.index].tolist() == [2, 2, 2, 0, 0, 0]
        assert len(set(drawn.x[3:].tolist())) == 3  # task 0 holds four
        assert set(drawn.x[:3].tolist()) <= {6, 7}  # task 2 holds two: drawn again


def test_draws_by_task_are_uniform_within_the_task() -> None:
    memory, numbers, trials = some(), rng(4), 2000
    counts: Counter[int] = Counter()
    for _ in range(trials):
        counts.update(draw(memory, 6, numbers, by_task=[0, 1]).x.tolist())
    for item, chance in [(n, 3 / 4) for n in range(4)] + [(n, 3 / 2) for n in (4, 5)]:
        assert abs(counts[item] - trials * chance) < 4 * (trials * 3 / 4) ** 0.5


# --- state ---


def test_a_memory_goes_through_tensors_and_json_and_goes_on_as_before(tmp_path: Path) -> None:
    policies: list[Policy] = ["reservoir", "class-balanced", "frequency-aware"]
    for policy in policies:
        straight, numbers = numbered(10, policy), rng()
        fill(straight, [0, 1, 2] * 20, 0, numbers)
        fields = {field.name: getattr(straight, field.name) for field in dataclasses.fields(straight)}
        tensors = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
        save_file(tensors, tmp_path / "memory.safetensors")
        rest = json.dumps({name: value for name, value in fields.items() if name not in tensors})
        restored = Memory(**load_file(tmp_path / "memory.safetensors"), **json.loads(rest))
        assert (restored.seen, restored.filled) == (60, 10)
        resumed_numbers = numbers.clone_state()
        fill(straight, [1, 3] * 20, 1, numbers)
        fill(restored, [1, 3] * 20, 1, resumed_numbers)
        assert restored.x.tolist() == straight.x.tolist()
        assert (restored.seen, restored.classes()) == (straight.seen, straight.classes())


def test_a_memory_tells_what_it_holds() -> None:
    memory = some()
    assert memory.classes() == {n: 1 for n in range(8)}
    assert memory.tasks() == {0: 4, 1: 2, 2: 2}
    assert (empty(3, ()).classes(), empty(3, ()).tasks()) == ({}, {})


def test_images_are_spread_over_the_classes() -> None:
    memory = numbered(12, "class-balanced")
    fill(memory, [2, 0, 1] * 4, 0, rng())
    classes = torch.tensor([2, 0, 1] * 4)
    assert classes[memory.images(3)].tolist() == [0, 1, 2]
    assert sorted(memory.images(99).tolist()) == list(range(12))
    assert classes[memory.images(12)].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert empty(3, (1, 2, 2)).images(5).shape == (0, 1, 2, 2)


# --- bad input ---


@pytest.mark.parametrize("capacity", [0, -5])
def test_a_memory_needs_a_slot(capacity: int) -> None:
    message = f"memory.size={capacity}: a replay memory needs at least one slot; give memory.size=200, say"
    with pytest.raises(HypermnesiaError, match=message):
        empty(capacity, (1, 28, 28))
    with pytest.raises(HypermnesiaError, match=message):
        memories.check(capacity, 10)


def test_fewer_slots_than_classes_are_a_warning() -> None:
    with pytest.warns(
        UserWarning, match="memory.size=9 is smaller than the 10 classes .* give at least memory.size=10"
    ):
        memories.check(9, 10)
    memories.check(10, 10)  # a warning would be an error


def test_unknown_policy() -> None:
    with pytest.raises(HypermnesiaError, match="unknown memory policy 'resevoir'; did you mean 'reservoir'"):
        empty(3, (), policy="resevoir")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "batch",
    [
        {"x": torch.zeros(2, 3, dtype=torch.uint8)},
        {"x": torch.zeros(2, 4)},
        {"x": torch.zeros(3, 4, dtype=torch.uint8)},
        {"logits": None},
        {"logits": torch.zeros(2, 4)},
        {"logits": torch.zeros(1, 5)},
    ],
)
def test_a_batch_must_fit(batch: dict[str, Any]) -> None:
    memory = empty(3, (4,), outputs=5)
    fitting = {
        "x": torch.zeros(2, 4, dtype=torch.uint8),
        "y": torch.zeros(2, dtype=torch.int64),
        "logits": torch.zeros(2, 5),
    }
    with pytest.raises(
        ValueError, match=r"does not fit a memory of samples \(3, 4\) uint8 and logits \(3, 5\) float32"
    ):
        insert(memory, **{**fitting, **batch}, task=0, rng=rng())
    assert insert(memory, **fitting, task=0, rng=rng()).filled == 2


def test_logits_for_a_memory_without_them() -> None:
    x, y = torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"logits \(1, 2\) float32 does not fit .* logits none"):
        insert(empty(3, ()), x, y, 0, torch.zeros(1, 2), rng())


def test_herding_is_filled_at_the_end_of_a_task_only() -> None:
    x, y = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(
        HypermnesiaError, match="memory.policy=herding is a part of icarl and lucir: choose another policy"
    ):
        insert(numbered(3, "herding"), x, y, 0, None, rng())
    with pytest.raises(
        ValueError, match="needs a memory of policy 'herding' .* got 'reservoir' and 1 rows for 1"
    ):
        herd(numbered(3), x, y, 0, None, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="got 'herding' and 2 rows for 1 samples"):
        herd(numbered(3, "herding"), x, y, 0, None, torch.zeros(2, 2))


def test_impossible_draws() -> None:
    memory = some()
    with pytest.raises(ValueError, match="memory.draw: count must be at least 1, got 0"):
        draw(memory, 0, rng())
    with pytest.raises(ValueError, match="memory.draw: 2 samples cannot be shared by 3 tasks"):
        draw(memory, 2, rng(), by_task=[0, 1, 2])
    with pytest.raises(ValueError, match=r"task 5 has no sample here; samples by task: \{0: 4, 1: 2, 2: 2\}"):
        draw(memory, 4, rng(), by_task=[0, 5])
