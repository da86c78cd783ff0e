"""Threads: which number is taken, and how they wait."""

from collections.abc import Callable

import pytest

from hypermnesia.training import threads


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
