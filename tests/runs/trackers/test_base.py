"""What all trackers share."""

import contextlib
import json

import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.metrics import accuracy_so_far
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs import trackers as track
from hypermnesia.runs.trackers import tracking
from hypermnesia.runs.trackers.base import Reader, Run, history
from hypermnesia.training.events import TaskStarted


def test_unknown_trackers_are_told_at_once():
    with pytest.raises(HypermnesiaError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        tracking(["tensorbord"])


def test_a_missing_package_is_told_at_once(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'wandb'", name="wandb")

    monkeypatch.setattr(track, "import_module", missing)
    with pytest.raises(HypermnesiaError) as error:
        tracking(["wandb"])
    assert str(error.value) == (
        "--track wandb: No module named 'wandb'; get it with: pip install 'hypermnesia[wandb]'"
    )


def test_numbers_of_records():
    reader = Reader()
    started = {"event": "task_started", "task": 0, "tasks": 3, "name": "a"}
    untrained = {
        "event": "evaluated",
        "task": -1,
        "step": None,
        "scenarios": {"task": [0.5, None]},
        "validation": None,
    }
    assert reader.numbers(untrained) == {"accuracy/task/1": 0.5}
    assert reader.numbers(started) == {} and reader.tasks == 3
    step = {
        "event": "step",
        "task": 0,
        "step": 2,
        "total_steps": 7,
        "loss": 0.5,
        "terms": {"drift": 0.1, "ce": None},
    }
    assert reader.numbers(step) == {"loss": 0.5, "loss/drift": 0.1}
    assert reader.total == 7
    evaluated = {
        "event": "evaluated",
        "task": 1,
        "step": None,
        "scenarios": {"class": [0.4, 0.8, None]},
        "validation": {"class": [0.2, None, None]},
    }
    assert reader.numbers(evaluated) == {
        "accuracy/class/1": 0.4,
        "accuracy/class/2": 0.8,
        "accuracy/class": pytest.approx(0.6),
        "accuracy/validation/class/1": 0.2,
        "accuracy/validation/class": 0.2,
    }
    assert reader.total == 7
    assert reader.numbers({"event": "run_ended", "steps": 9, "seconds": 1.5}) == {"train_seconds": 1.5}


def test_tests_of_classes_that_are_as_many_as_tasks_count_all():
    reader = Reader([{"event": "task_started", "task": 0, "name": "a", "tasks": 2}], by_task=False)
    found = reader.numbers(
        {
            "event": "evaluated",
            "task": 0,
            "step": None,
            "scenarios": {"class": [0.4, 0.8]},
            "validation": {"class": [0.1, 0.3]},
        }
    )
    assert found["accuracy/class"] == pytest.approx(0.6) and found["accuracy/validation/class"] == 0.1


def test_a_reader_takes_up_where_its_past_ended():
    assert Reader([{"event": "step", "total_steps": 40, "loss": 1.0, "terms": {}}]).total == 40


@pytest.mark.parametrize(
    ("row", "task", "tasks", "mean"),
    [
        ([0.5, 0.7, 0.9], 1, 3, 0.6),
        ([0.5, 0.7, 0.9], 0, 1, 0.7),  # joint training: one task, three tests
        ([0.5, None, None], 0, 3, 0.5),
        ([None], 0, 1, None),
        ([0.5, 0.7], -1, None, None),
    ],
)
def test_accuracy_so_far(row, task, tasks, mean):
    assert accuracy_so_far(row, task, tasks) == (None if mean is None else pytest.approx(mean))


def test_history_ends_before_the_first_event(tmp_path):
    log, first = tmp_path / "events.jsonl", TaskStarted(1, "b", 2)
    past = {"time": 4.0, "event": "task_ended", "task": 0, "seconds": 1.0}
    ours = {"time": 5.0, "event": "task_started", "task": 1, "name": "b", "tasks": 2}
    log.write_text(json.dumps(past) + "\n")
    assert history(log, first) == [past]
    log.write_text(json.dumps(past) + "\n" + json.dumps(ours) + "\n")
    assert history(log, first) == [past]  # the log did not wait
    log.write_text(json.dumps(past) + "\n" + json.dumps(ours)[:20])
    assert history(log, first) == [past]  # it was in the middle of it
    log.write_text("")
    assert history(log, first) == []


def test_secrets_are_not_among_the_settings(tmp_path):
    config = {"net": {"name": "mlp", "api_key": "abc"}, "hub": "https://me:pass@example.org/x"}
    run = Run(tmp_path, 3, "split-digits", "er", "0123456789", config)
    assert run.name == "split-digits er-01234567 seed 3"
    assert "abc" not in str(run.settings) and "pass" not in str(run.settings)
    assert run.settings["seed"] == "3" and run.settings["net.name"] == "mlp"


@pytest.mark.parametrize(("where", "heard"), [("init", 0), ("step", 1), ("finish", 3)])
def test_a_tracker_that_fails_is_told_once_and_then_off(where, heard, tmp_path, monkeypatch, capsys):
    calls = []

    @contextlib.contextmanager
    def failing(run, past):
        if where == "init":
            raise OSError("no network")

        def hear(record):
            calls.append(record)
            if where == "step":
                raise OSError("no network")

        yield hear
        raise OSError("no network")

    monkeypatch.setattr(track, "_opener", lambda name: failing)
    cfg = resolve("split-digits", "er", [])
    with tracking(["wandb"])(cfg, 0, tmp_path) as hear:
        for task in range(3):
            hear(TaskStarted(task, "a", 3))
    assert len(calls) == heard
    assert capsys.readouterr().err == (
        f"hypermnesia: {tmp_path}: --track wandb: OSError: no network; it is off now, and the run goes on\n"
    )
