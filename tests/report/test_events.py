import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.conftest import make_step

from hypermnesia.report import events


def write(path: Path, log: list[dict[str, Any]], rest: str = "") -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in log) + rest, encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def step(number: int, loss: Any, task: int = 0, **more: Any) -> dict[str, Any]:
    return make_step(task, number, loss, number, **more)


def test_steps_stand_where_they_are_in_the_run(path: Path) -> None:
    log = events.read(write(path, [step(20, 1.0), step(41, 0.5, task=1), step(60, 0.4, task=1)]))
    assert log.curves["loss"] == ((20, 1.0), (41, 0.5), (60, 0.4)) and log.starts == (20, 41)
    assert log.problem is None


def test_terms_stand_beside_the_loss(path: Path) -> None:
    log = events.read(write(path, [step(1, 3.0, terms={"drift": 1, "nll": 2.0})]))
    assert log.curves == {"loss": ((1, 3.0),), "drift": ((1, 1.0),), "nll": ((1, 2.0),)}


def test_values_that_are_no_finite_number_are_left_out(path: Path) -> None:
    log = events.read(write(path, [step(i, v) for i, v in enumerate((1e300, None, 2.0))]))
    assert log.curves == {"loss": ((2, 2.0),)}


@pytest.mark.parametrize(
    "rest",
    [
        '{"event": "st',
        json.dumps({"event": "step"}) + "\n",
        json.dumps(step(2, float("nan"))) + "\n",
        json.dumps(step(2, "1")) + "\n",
        json.dumps(step(2, 0.5)),  # torn before its end
    ],
)
def test_reading_ends_at_damage_and_says_where(path: Path, rest: str) -> None:
    log = events.read(write(path, [step(1, 1.0)], rest))
    assert log.curves == {"loss": ((1, 1.0),)}
    assert log.problem == "events.jsonl: line 2 is no event; read up to it"


def test_no_log_is_no_problem(path: Path) -> None:
    assert events.read(path) == events.Log()


def test_a_long_log_is_thinned_to_means_of_equal_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_MOST_POINTS", 8)
    values = [float(i * i % 17) for i in range(64)]
    log = events.read(write(path, [step(i, value) for i, value in enumerate(values)]))
    slow = [(sum(range(i, i + 16)) / 16, sum(values[i : i + 16]) / 16) for i in range(0, 64, 16)]
    assert np.array(log.curves["loss"]) == pytest.approx(np.array(slow))


def test_average_is_the_mean_in_each_bin() -> None:
    one = events.Log({"loss": tuple((float(i), 1.0) for i in range(240))})
    two = events.Log({"loss": tuple((float(i), 3.0) for i in range(240)), "drift": ((239.0, 5.0),)})
    mean = events.average([one, two])
    assert len(mean["loss"]) == 120
    assert mean["loss"][0] == pytest.approx((0.5, 2.0)) and mean["loss"][-1] == pytest.approx((238.5, 2.0))
    assert mean["drift"] == ((239.0, 5.0),)
    assert events.average([events.Log()]) == {}
