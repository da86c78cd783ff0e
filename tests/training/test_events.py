"""events.jsonl."""

import contextlib
import math

import pytest
import torch

from hypermnesia.evaluation.event_lines import sound_lines
from hypermnesia.training.events import (
    LOGGED_EVERY,
    Evaluated,
    EventLog,
    RunEnded,
    StepDone,
    TaskEnded,
    TaskStarted,
    ends_whole,
    event_json,
    fault,
    logged,
    mark,
    sound_length,
)


def step(number: int, steps: int = 100, loss: float = 0.5) -> StepDone:
    return StepDone(
        1, "train", number, steps, 100 + number, torch.tensor(loss), {"drift": torch.tensor(0.25)}
    )


def test_of_steps_the_log_holds_some_and_both_ends():
    kept = [number for number in range(1, 48) if logged(step(number, 47))]
    assert kept == [1, LOGGED_EVERY, 2 * LOGGED_EVERY, 47]
    assert logged(TaskEnded(0, 1.0))


def test_events_as_json():
    assert event_json(step(3)) == {
        "event": "step",
        "task": 1,
        "phase": "train",
        "step": 3,
        "steps": 100,
        "total_steps": 103,
        "loss": 0.5,
        "terms": {"drift": 0.25},
    }
    assert event_json(TaskStarted(0, "0, 1", 5)) == {
        "event": "task_started",
        "task": 0,
        "name": "0, 1",
        "tasks": 5,
    }
    assert event_json(Evaluated(0, None, {"task": [1.0, None]}))["scenarios"] == {"task": [1.0, None]}
    assert event_json(TaskEnded(0, 2.5)) == {"event": "task_ended", "task": 0, "seconds": 2.5}
    assert event_json(RunEnded(10, 2.5)) == {"event": "run_ended", "steps": 10, "seconds": 2.5}


def test_what_is_not_finite_is_null():
    assert event_json(step(1, loss=math.nan))["loss"] is None


def test_a_log_is_cut_back_and_goes_on(tmp_path):
    path = tmp_path / "events.jsonl"
    with contextlib.closing(EventLog(path, 0)) as log:
        log.write(TaskStarted(0, "first", 2))
        marked = log.flush()
        log.write(TaskEnded(0, 1.0))
    assert fault(path, marked) is None and marked["events"] < path.stat().st_size
    with contextlib.closing(EventLog(path, marked["events"])) as again:
        again.write(RunEnded(1, 1.0))
        assert again.flush() == mark(path)
    assert [line["event"] for line in sound_lines(path)] == ["task_started", "run_ended"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 209 bytes of 210"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"first", b"fjrst")),
            "is not what was written",
        ),
        (lambda path: path.write_bytes(b"\xff" + path.read_bytes()[1:]), "is not what was written"),
    ],
)
def test_a_log_that_is_not_what_was_written_is_found_out(tmp_path, damage, said, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1.0)
    path = tmp_path / "events.jsonl"
    with contextlib.closing(EventLog(path, 0)) as log:
        for task in range(3):
            log.write(TaskStarted(task, "first", 3))
        marked = log.flush()
    damage(path)
    assert fault(path, marked) == said


def test_how_much_of_a_log_is_sound(tmp_path):
    path = tmp_path / "events.jsonl"
    with contextlib.closing(EventLog(path, 0)) as log:
        log.write(TaskStarted(0, "first", 2))
        first = log.flush()["events"]
        log.write(TaskEnded(0, 1.0))
        second = log.flush()["events"]
    assert [sound_length(path, most) for most in (0, first, second - 1, second)] == [0, first, first, second]
    with open(path, "ab") as file:
        file.write(b'{"time":')
    assert sound_length(path, 10**6) == second and not ends_whole(path)
    assert sound_length(tmp_path / "absent", 10) == 0


def test_every_event_is_a_line_that_the_schema_knows(tmp_path):
    path = tmp_path / "events.jsonl"
    told = [
        TaskStarted(0, "0, 1", 5),
        step(1),
        step(1, loss=math.inf),
        Evaluated(-1, None, {"task": [1.0, None]}),
        Evaluated(0, 7, {}, {"class": [0.5]}),
        TaskEnded(0, 2.5),
        RunEnded(10, 2.5),
    ]
    with contextlib.closing(EventLog(path, 0)) as log:
        for event in told:
            log.write(event)
    lines = [{k: v for k, v in line.items() if k != "time"} for line in sound_lines(path)]
    assert lines == [event_json(event) for event in told]
