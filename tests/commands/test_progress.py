"""What a run shows while it trains."""

import io
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from running import SHORT

from hypermnesia.commands import progress as display
from hypermnesia.commands import terminal
from hypermnesia.commands.progress import RunProgress, showing, together
from hypermnesia.core import waiting
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.execute import execute_seeds
from hypermnesia.runs.recorder import Interrupted
from hypermnesia.training.events import Evaluated, StepDone, TaskEnded, TaskStarted


def console(terminal: bool, width: int = 140) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, markup=False, highlight=False)


def text(page: Console) -> str:
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


def outline_of(tasks: int, target: object = None) -> SimpleNamespace:
    """As much of a stream as is shown."""
    found = [SimpleNamespace(test=object()) for _ in range(tasks)]
    return SimpleNamespace(tasks=found, tests=[task.test for task in found], target=target)


CONFIG = resolve("split-digits", "er", SHORT)


def test_elsewhere_a_line_for_each_task(tmp_path):
    page = console(terminal=False, width=40)
    execute_seeds(CONFIG, [0], tmp_path, listen=showing(page))
    begun, *lines = text(page).splitlines()
    assert begun == (
        "split-digits · er · seed 0: mlp, 17.6 k parameters, 5 tasks × 5 steps of 32, in "
        f"{tmp_path / 'seed-0'}"
    )
    assert len(lines) == 5
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"split-digits · er · seed 0: task {number}/5 done after ")
        assert " of training: task " in line and "class " in line and line.endswith("%")


def test_a_finished_run_is_said_to_be(tmp_path):
    execute_seeds(CONFIG, [0], tmp_path)
    page = console(terminal=False, width=40)
    execute_seeds(CONFIG, [0], tmp_path, listen=showing(page))
    assert text(page) == f"split-digits · er · seed 0: already finished, in {tmp_path / 'seed-0'}\n"


def test_a_resumed_run_says_so_and_knows_where_it_is(tmp_path):
    with pytest.raises(Interrupted):
        execute_seeds(CONFIG, [0], tmp_path, listen=together(_stopping_at(2, 3)))
    page = console(terminal=False)
    execute_seeds(CONFIG, [0], tmp_path, listen=showing(page))
    _, first, second, *_ = text(page).splitlines()
    assert first == "split-digits · er · seed 0: goes on with task 3 of 5"
    assert "task 3/5 done" in second


def _stopping_at(task: int, step: int):
    import os
    import signal

    @contextmanager
    def listen(cfg, seed, directory):
        def hear(event):
            if isinstance(event, StepDone) and (event.task, event.step) == (task, step):
                os.kill(os.getpid(), signal.SIGTERM)

        yield hear

    return listen


def test_on_a_terminal_a_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(display, "REFRESH", 0.0)
    page = console(terminal=True)
    execute_seeds(CONFIG, [0], tmp_path, listen=showing(page))
    for part in ("er · seed 0", "task 1/5 · step 5/5 · loss ", "task 5/5", "class "):
        assert part in text(page)
    kept = [line for line in text(page).splitlines() if " done after " in line]
    assert len(kept) == 5, "a line stays for every task"


def test_long_work_is_told_beside_the_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(display, "REFRESH", 0.0)
    monkeypatch.setattr(display, "saved_stream", lambda directory: outline_of(1))
    page = console(terminal=True)
    with showing(page)(CONFIG, 0, tmp_path) as hear:
        for _ in waiting.counted(range(3), "decoding images"):
            pass
        hear(TaskEnded(0, 1.0))
    assert "decoding images: 2 of 3" in text(page) and text(page).index("being set up") < text(page).index(
        "decoding"
    )


def test_elsewhere_long_work_is_told_after_two_seconds_and_then_now_and_then(monkeypatch):
    page, now = console(terminal=False), [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with terminal.showing_work(page):
        for _ in waiting.counted(range(60), "decoding images"):
            now[0] += 1.0
        for _ in waiting.counted(range(2), "evaluating tests"):
            now[0] += 1.0
    assert text(page).splitlines() == [f"decoding images: {n} of 60" for n in (2, 22, 42)]


def test_on_a_terminal_a_line_moves_while_nothing_is_said_and_is_taken_away():
    page = console(terminal=True)
    with terminal.showing_work(page):
        with waiting.busy("loading torch"):
            time.sleep(0.3)
        assert "loading torch" in text(page)
    assert text(page).endswith("\x1b[2K"), "the line is cleared"
    spinner = {character for character in text(page) if "\u2800" < character <= "\u28ff"}
    assert len(spinner) > 1, "it moved by itself"


def test_work_that_nobody_listens_to_counts_all_the_same():
    assert list(waiting.counted([3, 1], "anything")) == [3, 1]
    with waiting.busy("anything"):
        pass


class Counting(torch.Tensor):
    """Counts how often somebody looks at its value."""

    looks = 0

    def __float__(self):
        Counting.looks += 1
        return 1.0


def test_losses_are_looked_at_now_and_then(tmp_path, monkeypatch):
    """Each look makes the host wait for the accelerator."""
    times = iter(range(10**6))
    monkeypatch.setattr(display.time, "monotonic", lambda: next(times) * display.REFRESH / 10)
    monkeypatch.setattr(display, "saved_stream", lambda directory: outline_of(1))
    with showing(console(terminal=True))(CONFIG, 0, tmp_path) as hear:
        hear(TaskStarted(0, "a", 1))
        for step in range(1, 1001):
            hear(StepDone(0, "train", step, 1000, step, torch.tensor(1.0).as_subclass(Counting), {}))
    assert 20 <= Counting.looks <= 200


def progress(monkeypatch, tasks: int = 3) -> RunProgress:
    monkeypatch.setattr(display, "saved_stream", lambda directory: outline_of(tasks))
    return RunProgress.of(CONFIG, 0, Path("nowhere"))


def test_accuracy_so_far_is_over_the_tasks_learned(monkeypatch):
    told = progress(monkeypatch)
    assert not told.hear(Evaluated(-1, None, {"task": [0.5, 0.5, 0.5]}))
    assert told.accuracy == ""
    told.hear(Evaluated(1, None, {"task": [1.0, 0.5, 0.0], "class": [0.4, 0.2, None]}))
    assert told.accuracy == "task 75.0% class 30.0%"


def test_of_numbers_it_is_r_squared_that_is_shown():
    told = RunProgress("a", "a", lambda: outline_of(2, "price"))  # pyright: ignore[reportArgumentType]
    told.hear(Evaluated(0, None, {"task": [-0.5, None]}))
    assert told.accuracy == "R² task -50.0%"


def test_sealed_runs_show_validation(monkeypatch):
    told = progress(monkeypatch)
    told.hear(Evaluated(0, None, {}, {"task": [0.5, 0.1, 0.1]}))
    assert told.accuracy == "validation task 50.0%"


def test_which_first_events_are_of_a_resumed_run(monkeypatch):
    step = StepDone(0, "train", 7, 10, 7, torch.tensor(0.0), {})
    assert progress(monkeypatch).hear(step)
    assert progress(monkeypatch).hear(TaskStarted(1, "b", 3))
    assert progress(monkeypatch).hear(TaskEnded(2, 1.0))
    assert not progress(monkeypatch).hear(TaskStarted(0, "a", 3))


def test_listeners_together(tmp_path):
    heard, closed = [], []

    def one(name):
        @contextmanager
        def listen(cfg, seed, directory):
            yield lambda event: heard.append((name, event))
            closed.append(name)

        return listen

    with together(one("a"), one("b"))(CONFIG, 0, tmp_path) as hear:
        hear(TaskEnded(0, 1.0))
    assert [name for name, _ in heard] == ["a", "b"] and sorted(closed) == ["a", "b"]


def test_pages_that_are_no_terminal_are_wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert display.console().width == 160
    monkeypatch.setenv("COLUMNS", "90")
    assert display.console().width == 90
