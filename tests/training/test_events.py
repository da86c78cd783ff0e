"""events.jsonl."""

import json
import math

import torch

from hypermnesia.training.events import (
    LOGGED_EVERY,
    Evaluated,
    EventLog,
    RunEnded,
    StepDone,
    TaskEnded,
    TaskStarted,
    event_json,
    logged,
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
    log = EventLog(path, 0)
    log.write(TaskStarted(0, "first", 2))
    offset = log.flush()
    log.write(TaskEnded(0, 1.0))
    log.close()
    again = EventLog(path, offset)
    again.write(RunEnded(1, 1.0))
    assert again.flush() == path.stat().st_size
    again.close()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "task_started",
        "run_ended",
    ]


def test_an_offset_beyond_the_file_invents_nothing(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("{}\n")
    log = EventLog(path, 1000)
    assert log.flush() == 3
    log.close()
