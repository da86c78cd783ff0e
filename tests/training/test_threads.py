"""Threads: which number is taken, and how they wait."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import small
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.training import checkpoint, threads
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions


class Clock:
    """A machine whose steps take as long as is said, with no step taken."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.count, self.now, self.steps = seconds, 0, 0.0, 0

    def set_threads(self, count: int) -> None:
        self.count = count

    def step(self) -> None:
        self.now += self.seconds[self.count]
        self.steps += 1


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, float]], Clock]:
    def made(seconds: dict[int, float]) -> Clock:
        clock = Clock(seconds)
        monkeypatch.setattr(threads.time, "perf_counter", lambda: clock.now)
        return clock

    return made


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({1: 0.010, 2: 0.006}, 2),
        ({1: 0.010, 2: 0.010}, 1),
        ({1: 0.010, 2: 0.009}, 1),
        ({1: 0.010, 2: 0.200}, 1),
    ],
    ids=["faster", "equal", "hardly faster", "beside a busy process"],
)
def test_all_cores_only_where_they_pay(on, seconds: dict[int, float], chosen: int) -> None:
    clock = on(seconds)
    assert threads.faster(clock.step, clock.set_threads, 2) == chosen == clock.count


def test_slow_steps_are_tried_no_more_than_twice_each(on) -> None:
    clock = on({1: 10.0, 4: 3.0})
    assert threads.faster(clock.step, clock.set_threads, 4) == 4
    assert clock.steps == 4


def test_one_core_needs_no_choice(on) -> None:
    clock = on({1: 1.0})
    assert threads.faster(clock.step, clock.set_threads, 1) == 1 and clock.steps == 0


@pytest.mark.parametrize(
    ("load", "name", "value"),
    [
        ("0.02 0.1 0.1 1/300 99\n", "GOMP_SPINCOUNT", "20000"),
        ("0.90 0.1 0.1 1/300 99\n", "OMP_WAIT_POLICY", "passive"),
        ("0.02 0.1 0.1 2/300 99\n", "OMP_WAIT_POLICY", "passive"),
        ("nonsense", "GOMP_SPINCOUNT", "20000"),
    ],
    ids=["idle", "busy for a minute", "busy now", "unknown"],
)
def test_threads_sleep_beside_others(monkeypatch, tmp_path, load: str, name: str, value: str) -> None:
    (tmp_path / "loadavg").write_text(load)
    real = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *a, **k: real(tmp_path / "loadavg" if path == "/proc/loadavg" else path, *a, **k),
    )
    for variable in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(variable, raising=False)
    threads.quieten()
    assert threads.os.environ[name] == value
    monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    threads.quieten()
    assert "GOMP_SPINCOUNT" not in threads.os.environ, "what the user said stays"


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_choosing_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, dropout: float) -> None:
    """The run that timed its first step is the run that was told the same number, batch statistics and noise included."""
    monkeypatch.setattr(threads, "faster", lambda step, set_threads, most: [step() for _ in range(3)] and 1)

    def run(count: object) -> Fit:
        net = small.conv if not dropout else partial(small.mlp, dropout=dropout)
        train = TrainOptions(iterations=3, batch_size=4, threads=count)  # pyright: ignore[reportArgumentType]
        return small.run(net=net, train=train)

    chosen, told = run("auto"), run(1)
    small.all_of([chosen, told])
    assert chosen.threads == 1
    ours, theirs = chosen.learner.model.stored(), told.learner.model.stored()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert chosen.records.rows == told.records.rows


def test_the_choice_is_kept_on_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run() -> Fit:
        return small.run(train=TrainOptions(iterations=4, batch_size=4))

    monkeypatch.setattr(threads, "faster", lambda step, set_threads, most: set_threads(1) or 1)
    first = run()
    events = iter(first)
    for event in events:
        if isinstance(event, StepDone):
            checkpoint.save(first, tmp_path)
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(threads, "faster", lambda *_: pytest.fail("it was chosen before"))
    again = run()
    checkpoint.load(again, tmp_path, pytest.fail)
    small.all_of([again])
    assert again.threads == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("many", r"train\.threads=.many.: expected integer >= 1 and <= 1024 \| auto \| none"),
        (0, "train.threads=0"),
        (2**31 - 1, "train.threads=2147483647"),
    ],
)
def test_numbers_of_threads_that_are_none(value: object, said: str) -> None:
    with pytest.raises(HypermnesiaError, match=said):
        TrainOptions(iterations=1, threads=value)  # pyright: ignore[reportArgumentType]
