"""Rehearsal on weights that all tasks share, and on weights of each task's own."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from methods.helpers import UNEVEN, consecutive, make_batch, make_learner
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.trees import flat
from hypermnesia.methods.agem import AGEM
from hypermnesia.methods.der import DERPP
from hypermnesia.methods.er import ER
from hypermnesia.methods.gdumb import GDumb
from hypermnesia.methods.icarl import ICaRL
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.replay import rehearsal
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.rehearsal import ABSENT, MemoryOptions, Replay

OPTIONS = MemoryOptions(size=18, batch_size=7)


def filled(learner: Learner, options: MemoryOptions = OPTIONS, logits: bool = False) -> Memory:
    memory = rehearsal.empty_memory(learner, options, logits)
    for task in range(learner.task + 1):
        batch = make_batch(learner, task=task)
        with torch.no_grad():
            own = learner.model(batch.x, task) if logits else None
        memory = rehearsal.remember(memory, batch, generator(0), own)
    return memory


def rehearsed(
    learner: Learner, options: MemoryOptions = OPTIONS, logits: bool = False, seed: int = 0
) -> Replay:
    found = rehearsal.rehearse(filled(learner, options, logits), learner, options, generator(seed))
    assert found is not None
    return found


def test_shared_weights_make_one_block_of_distinct_samples() -> None:
    learner = make_learner(task=2)
    memory = filled(learner)
    replay = rehearsal.rehearse(memory, learner, OPTIONS, generator(0))
    assert replay is not None and len(replay) == 7 and len(set(replay.index.tolist())) == 7
    assert [(b.task, b.start, b.stop) for b in replay.blocks] == [(2, 0, 7)]
    assert replay.classes is None
    torch.testing.assert_close(replay.x, learner.preprocess(memory.x[replay.index], None))
    assert torch.equal(replay.target, memory.y[replay.index])


def test_an_empty_memory_gives_nothing() -> None:
    learner = make_learner()
    memory = rehearsal.empty_memory(learner, OPTIONS)
    assert rehearsal.rehearse(memory, learner, OPTIONS, generator(0)) is None
    assert rehearsal.rehearse_each(memory, learner, OPTIONS, generator(0), 3) == []


@pytest.mark.parametrize("head", ["shared", "per_task"])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("augmented", [False, True])
def test_several_draws_at_once_are_several_draws(head: Any, logits: bool, augmented: bool) -> None:
    learner = make_learner(head, task=2)
    if augmented:
        learner.preprocess = replace(learner.preprocess, crop=1, flip=True)
    memory, one, other = filled(learner, OPTIONS, logits), generator(5), generator(5)
    together = rehearsal.rehearse_each(memory, learner, OPTIONS, one, 3)
    apart = [rehearsal.rehearse(memory, learner, OPTIONS, other) for _ in range(3)]
    assert torch.equal(one.get_state(), other.get_state())
    for a, b in zip(together, apart, strict=True):
        found, wanted = flat(a), flat(b)
        assert all(torch.equal(x, y) for x, y in zip(found.leaves, wanted.leaves, strict=True))
        assert found.form == wanted.form


def test_own_weights_make_equal_blocks_by_task() -> None:
    learner = make_learner("per_task", UNEVEN, task=2)
    replay = rehearsed(learner)
    assert [(b.task, b.stop - b.start) for b in replay.blocks] == [(0, 2), (1, 2), (2, 2)]
    assert consecutive(replay)
    for block in replay.blocks:
        own = torch.tensor(UNEVEN[block.task])
        rows = slice(block.start, block.stop)
        assert torch.equal(own[replay.target[rows]], replay.y[rows])


def test_every_task_gets_its_turn_where_a_step_holds_few() -> None:
    options = MemoryOptions(size=18, batch_size=6, tasks_per_step=2)
    learner = make_learner("per_task", UNEVEN, task=2)
    memory, rng = filled(learner, options), generator(0)
    counts: Counter[int] = Counter()
    for _ in range(300):
        replay = rehearsal.rehearse(memory, learner, options, rng)
        assert replay is not None and len(replay) == 6 and len(replay.blocks) == 2
        counts.update(b.task for b in replay.blocks)
    assert all(160 < counts[task] < 240 for task in range(3))


def test_more_tasks_than_samples_in_a_step() -> None:
    learner = make_learner("per_task", UNEVEN, task=2)
    replay = rehearsed(learner, MemoryOptions(size=18, batch_size=2))
    assert [b.stop - b.start for b in replay.blocks] == [1, 1]


def test_outputs_that_a_task_lacks_are_absent_in_all_logits() -> None:
    learner = make_learner("per_task", UNEVEN, task=2)
    replay = rehearsed(learner, logits=True)
    assert replay.classes is not None and replay.logits is not None
    assert replay.classes[::2].tolist() == [[0, 1, -1], [2, 3, 4], [5, -1, -1]]
    current = rehearsal.logits(Net(learner.model), replay)
    for found in (current, replay.logits):
        assert (found[replay.classes < 0] == ABSENT).all()
    torch.testing.assert_close(current, replay.logits)  # nothing has moved since
    assert rehearsal.squared_error(current + 1, replay).item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("setting", [{}, {"head": "per_task", "classes": UNEVEN}, {"role": "per_task"}])
def test_rows_of_a_task_pass_together_or_apart_with_the_same_result(setting: dict) -> None:
    learner = make_learner(task=2, **setting)
    memory = filled(learner)
    draws = [rehearsal.rehearse(memory, learner, OPTIONS, generator(seed)) for seed in (0, 1)]
    replays = [draw for draw in draws if draw is not None]
    batch, net = make_batch(learner), Net(learner.model)
    together = rehearsal.forward(net, batch.x, 2, replays, joint=True)
    apart = rehearsal.forward(net, batch.x, 2, replays, joint=False)
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(together[0], learner.model(batch.x, 2))
    torch.testing.assert_close(together[1][1], rehearsal.logits(net, replays[1]))
    one = rehearsal.joint_logits(net, batch.x, 2, replays[0])
    width = one.shape[1]
    torch.testing.assert_close(one[: len(batch.y), : together[0].shape[1]], together[0])
    torch.testing.assert_close(one[len(batch.y) :, : together[1][0].shape[1]], together[1][0])
    assert width == max(together[0].shape[1], together[1][0].shape[1])


class Counting(nn.Sequential):
    """Counts its forward passes; with batch norm, rows of a batch see each other."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 8), norm, nn.Linear(8, 6))
        self.calls: list[int] = []
        self.register_forward_pre_hook(lambda _, inputs: self.calls.append(len(inputs[0])))


@pytest.mark.parametrize(
    ("norm", "training", "mixes"),
    [
        (nn.Identity(), True, False),
        (nn.GroupNorm(2, 8), True, False),
        (nn.BatchNorm1d(8), True, True),
        (nn.BatchNorm1d(8), False, False),
        (nn.BatchNorm1d(8, track_running_stats=False), False, True),
    ],
)
def test_without_a_wish_only_networks_that_mix_samples_pass_apart(
    norm: nn.Module, training: bool, mixes: bool
) -> None:
    net = Counting(norm)
    learner = make_learner(task=2, net=net)
    learner.model.train(training)
    replay, batch = rehearsed(learner), make_batch(learner)
    assert rehearsal.mixes_samples(learner.model) == mixes

    def passes(joint: bool | None) -> list[int]:
        net.calls.clear()
        rehearsal.forward(Net(learner.model), batch.x, 2, [replay, replay], joint)
        return list(net.calls)

    assert passes(True) == [20]
    assert passes(False) == [6, 7, 7]
    assert passes(None) == ([6, 7, 7] if mixes else [20])


def test_weights_of_a_task_are_built_once_for_all_draws() -> None:
    learner = make_learner(task=2, role="per_task")
    memory, built = filled(learner), []
    model = learner.model
    overlay = model.overlay
    model.overlay = lambda task, *rest: built.append(task) or overlay(task, *rest)  # pyright: ignore
    draws = [rehearsal.rehearse(memory, learner, OPTIONS, generator(seed)) for seed in range(4)]
    replays = [draw for draw in draws if draw is not None]
    rehearsal.forward(Net(model), make_batch(learner).x, 2, replays)
    assert sorted(built) == [0, 1, 2]


def test_a_draw_is_augmented_afresh_and_the_memory_is_not() -> None:
    learner = make_learner(task=2)
    memory = filled(learner)
    kept = memory.x.clone()

    def noisy(raw: Tensor, rng: torch.Generator) -> Tensor:
        return raw.float() + torch.rand(raw.shape, generator=rng)

    rng = generator(0)
    first = rehearsal.rehearse(memory, learner, OPTIONS, rng, prepare=noisy)
    assert first is not None
    assert ((first.x - first.raw) > 0).any() and torch.equal(memory.x, kept)
    assert torch.equal(first.raw, kept[first.index])


def test_bad_input() -> None:
    with pytest.warns(UserWarning, match=r"memory\.size=5 is smaller than the 6 classes of the stream"):
        rehearsal.empty_memory(make_learner(), MemoryOptions(size=5))


@pytest.mark.parametrize("kind", [ER, AGEM, GDumb, ICaRL, DERPP])
def test_a_number_is_a_memory_of_so_many_samples(kind: type) -> None:
    """All else stays as the method has it by default."""
    assert kind(memory=50) == kind(memory=replace(kind().memory, size=50))
    with pytest.raises(HypermnesiaError, match=r"expected a number of samples, or MemoryOptions\(size=200\)"):
        kind(memory="50")
    with pytest.raises(HypermnesiaError, match="memory.size=0: expected integer >= 1"):
        kind(memory=0)
