"""One job in a worker, without any engine."""

import base64
import contextlib
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sweep.sweep_helpers import alone

from hypermnesia.evaluation.schema import Outcome, read_record
from hypermnesia.experiments.resolve import from_toml, resolve
from hypermnesia.runs.directory import Place, locked
from hypermnesia.runs.execute import execute
from hypermnesia.sweep import work as worker
from hypermnesia.sweep.jobs import Job
from hypermnesia.sweep.work import score_of
from hypermnesia.training.events import StepDone, TaskEnded

PATH = "validation.scenarios.class.average_accuracy"
WORDS = ("train.iterations=5", "stream.samples_per_task=40", "stream.validation=0.2", "net.hidden=[20]")


def job(root: Path, *words: str, **more) -> Job:
    cfg = resolve("split-digits", "finetune", [*WORDS, *words])
    (root / "search.json").write_text(json.dumps({"id": "x"}))
    made = Job(
        root=str(root),
        sweep_id="x",
        directory="trials/0000",
        config=cfg.to_toml(),
        seeds=(0,),
        objective=PATH,
        scenario="class",
        tasks=5,
        threads=1,
    )
    return replace(made, **more)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Outcome:
    return alone(job(tmp_path_factory.mktemp("plain")))


def test_a_trial_is_sealed_and_worth_its_objective(tmp_path):
    found = alone(job(tmp_path, seeds=(0, 1)))
    results = [json.loads((tmp_path / f"trials/0000/seed-{s}/result.json").read_text()) for s in (0, 1)]
    assert all(result["scenarios"] == {} for result in results), "no test figure"
    assert "infer" not in results[0] and "test" not in (tmp_path / "trials/0000/trial.json").read_text()
    values = [result["validation"]["scenarios"]["class"]["average_accuracy"] for result in results]
    assert found.state == "complete" and found.value == pytest.approx(sum(values) / 2)
    matrices = [result["validation"]["scenarios"]["class"]["matrix"] for result in results]
    expected = [score_of(row, t, 5) for matrix in matrices for t, row in enumerate(matrix)]
    assert found.scores == pytest.approx(expected) and found.seconds > 0
    assert read_record(tmp_path / "trials/0000/trial.json", Outcome) == found
    assert not list(tmp_path.rglob("checkpoint")), "nothing goes on from a finished trial"


def test_a_job_without_an_objective_is_a_run_on_test(tmp_path):
    found = alone(job(tmp_path, objective=None, directory="final/0000"))
    result = json.loads((tmp_path / "final/0000/seed-0/result.json").read_text())
    assert result["scenarios"]["class"]["average_accuracy"] is not None
    assert found.state == "complete" and found.value is None
    assert (tmp_path / "final/0000/seed-0/checkpoint").is_dir() and not list(tmp_path.rglob("trial.json"))


def test_a_trial_below_the_bar_is_given_up_there(tmp_path, plain):
    bars = [None, None, plain.scores[2] + 0.01, None, None]
    found = alone(job(tmp_path, bars=tuple(bars)))
    assert found.state == "pruned" and found.value is None
    assert found.scores == (*plain.scores[:3], None, None)
    assert found.reason == (
        f"{plain.scores[2]:.4f} after task 3, below the median {bars[2]:.4f} of finished trials"
    )
    level = alone(job(tmp_path, bars=plain.scores, directory="trials/0001"))
    assert level.state == "complete", "at the bar is not below it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("optimizer.name=sgd", "optimizer.lr=1e30"), "the loss became "),
        (("net=python:nowhere:make",), "nowhere"),
    ],
)
def test_a_trial_that_fails_says_why(tmp_path, words, said):
    words = [
        word for word in (*WORDS, *words) if not (word == "net.hidden=[20]" and "net=python" in words[0])
    ]
    cfg = resolve("split-digits", "finetune", words)
    found = alone(replace(job(tmp_path), config=cfg.to_toml()))
    assert found.state == "failed" and said in (found.reason or "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("1 TiB"), "out of memory: 1 TiB"),
        (torch.OutOfMemoryError("of the device"), "out of memory: of the device"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_any_error_is_the_trials_own(tmp_path, monkeypatch, error, said):
    def fail(*args):
        raise error

    monkeypatch.setattr(worker, "execute", fail)
    found = alone(job(tmp_path))
    assert (found.state, found.reason) == ("failed", said)
    expected = isinstance(error, ZeroDivisionError)
    assert (tmp_path / "trials/0000/failure.txt").exists() == expected, "a traceback of what was not expected"


def test_an_undefined_objective_fails_the_trial(tmp_path):
    found = alone(
        job(
            tmp_path,
            "stream.first_tasks=1",
            objective=PATH.replace("class", "task").replace("average_accuracy", "forgetting"),
            tasks=1,
            scenario="task",
        )
    )
    assert found.state == "failed"
    assert found.reason == "validation.scenarios.task.forgetting is undefined on this stream"


def test_an_interrupted_trial_goes_on_and_ends_the_same(tmp_path, monkeypatch, plain):
    made = job(tmp_path)

    def stopped(cfg, seed, place, listener):
        def hear(event):
            listener(event)
            if isinstance(event, StepDone) and event.task == 2:
                signal.raise_signal(signal.SIGTERM)

        return execute(cfg, seed, place, hear)

    monkeypatch.setattr(worker, "execute", stopped)
    first = alone(made)
    assert first.state == "interrupted" and first.reason.startswith("stopped by SIGTERM")
    assert list((tmp_path / "trials/0000/seed-0/checkpoint").iterdir())
    monkeypatch.undo()
    heard = []
    monkeypatch.setattr(
        worker,
        "execute",
        lambda c, s, p, listener: execute(c, s, p, lambda e: (heard.append(e), listener(e))),
    )
    again = alone(made)
    assert [event.task for event in heard if isinstance(event, TaskEnded)] == [2, 3, 4], "it resumed"
    assert (again.state, again.value, again.scores) == ("complete", plain.value, plain.scores)
    assert again.seconds > first.seconds


def test_a_trial_that_was_killed_as_it_fell_behind_falls_behind_again(tmp_path, plain):
    bars = (None, None, 1.1, None, None)
    first = alone(job(tmp_path, bars=bars))
    (tmp_path / "trials/0000/trial.json").unlink()
    assert alone(job(tmp_path, bars=bars)).reason == first.reason


def test_test_figures_are_refused(tmp_path):
    made = job(tmp_path)
    execute(from_toml(made.config), 0, Place(tmp_path / "trials/0000/seed-0"))
    found = alone(made)
    assert found.state == "failed" and "holds test figures, which no trial may have" in found.reason


def test_a_worker_on_another_disk_sends_the_files(tmp_path, monkeypatch, plain):
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(worker.tempfile, "gettempdir", lambda: str(tmp_path / "there"))
    (tmp_path / "here").mkdir()
    made = job(tmp_path / "here")
    (tmp_path / "here/search.json").write_text('{"id": "of another search"}')
    found = alone(made)
    assert (found.value, found.scores) == (plain.value, plain.scores)
    assert "seed-0/result.json" in found.files and "seed-0/events.jsonl" in found.files
    assert not any("checkpoint" in name for name in found.files)
    result = json.loads(base64.b64decode(found.files["seed-0/result.json"]))
    assert result["scenarios"] == {}
    assert not list((tmp_path / "there").rglob("*.json")) and not list(
        (tmp_path / "here").rglob("result.json")
    )
    final = alone(replace(made, objective=None, directory="final/0000"))
    assert any(name.startswith("seed-0/checkpoint/") for name in final.files), "a learner to use"


def test_a_job_waits_for_a_process_that_is_dying(tmp_path):
    import threading

    directory = tmp_path / "seed-0"
    directory.mkdir()
    holder = contextlib.ExitStack()
    holder.enter_context(locked(directory))
    waits = threading.Thread(target=worker._wait_until_free, args=(directory,))
    waits.start()
    waits.join(0.3)
    assert waits.is_alive()
    holder.close()
    waits.join(10)
    assert not waits.is_alive()


def test_scores_count_the_tasks_so_far():
    assert score_of([1.0, 0.5, 0.0], 1, 3) == 0.75
    assert score_of([1.0, 0.5, 0.0], 0, 1) == 0.5, "joint training has seen all"
    assert score_of([None, 0.5], 0, 2) is None and score_of(None, 0, 2) is None
