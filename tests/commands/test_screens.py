"""Exact texts of what commands print at 60, 80 and 120 columns and where there is no terminal, as tests/data/screens has them.

Figures and times are made up, so that they are the same everywhere. After a change that is wanted: SCREENS=write pytest …
"""

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from report.conftest import Writer
from rich.console import Console

from hypermnesia import report
from hypermnesia.commands import app, listing, progress, sweep, tables
from hypermnesia.commands.compare import Comparison
from hypermnesia.commands.listing import option_table, run_table
from hypermnesia.commands.progress import showing
from hypermnesia.commands.sweep_table import table
from hypermnesia.commands.terminal import _Page, console
from hypermnesia.core import waiting
from hypermnesia.evaluation.schema import CHECKSUM, Trial
from hypermnesia.experiments.config.schema import FieldInfo
from hypermnesia.experiments.resolve import resolve
from hypermnesia.report.summary import summarise
from hypermnesia.runs.predict import ClassAccuracy, Prediction
from hypermnesia.runs.results import summary_of
from hypermnesia.sweep.record import SweepResult
from hypermnesia.sweep.space import parse_space
from hypermnesia.training.events import Evaluated, RunBegun, StepDone, TaskEnded, TaskStarted
from hypermnesia.training.options import TrainOptions

SCREENS = Path(__file__).parents[1] / "data" / "screens"
WIDTHS = ("60", "80", "120", "none")
"""The last one: a file or a pipe."""


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Runs of three approaches below `runs`, two seeds each."""
    monkeypatch.chdir(tmp_path)
    made = Writer(Path("runs"))
    for place, approach in enumerate(("hnet", "er", "finetune")):
        for seed in range(2):
            name = f'approach = "{approach}"\n[train]\niterations = 300\n'
            about = {"train_seconds": 12.5 + seed, "stored_bytes": 4000.0 * (place + 1), "steps": 1500}
            result = made.result(approach, seed, kept=0.97 - 0.1 * place, costs=about)
            place_of_seed = made.seed(approach, result, name)
            (place_of_seed / "environment.json").write_text(json.dumps({"seed": seed, "seeds": [0, 1]}))
    return made


def results(approach: str) -> list[dict[str, Any]]:
    found = [json.loads(Path(f"runs/{approach}/seed-{k}/result.json").read_text()) for k in range(2)]
    return [{key: value for key, value in one.items() if key != CHECKSUM} for one in found]


def trained(page: Console, watch: Callable[[], None] = lambda: None) -> None:
    """What `page` is shown of two tasks of five; `watch` is called in the middle of things."""
    tasks = [SimpleNamespace(test=object()) for _ in range(5)]
    stream = SimpleNamespace(tasks=tasks, tests=[task.test for task in tasks], target=None)
    cfg, directory = resolve("split-digits", "er", ["train.threads=1"]), Path("runs/er/seed-0")
    seen = {"task": [0.99, 0.9, None, None, None], "class": [0.8, 0.7, None, None, None]}
    with (
        patch.object(progress, "saved_stream", lambda _: stream),
        patch.object(progress, "REFRESH", 0.0),
        showing(page)(cfg, 0, directory) as hear,
    ):
        hear(RunBegun(17_610, 5, TrainOptions(iterations=300)))
        for _ in waiting.counted(range(2), "decoding images"):
            watch()
        for task in range(2):
            hear(TaskStarted(task, "digits", 5))
            hear(StepDone(task, "train", 150, 300, 300 * task + 150, torch.tensor(0.25), {}))
            watch()
            hear(Evaluated(task, None, seen))
            hear(TaskEnded(task, 1.5 * (task + 1)))
        watch()


def show_run() -> None:
    """A run's beginning, a line for each task, and its end."""
    trained(console())
    app._show(summary_of(results("er")), Path("runs/er"))


def compared() -> None:
    found = report.load([Path("runs")])
    page = console()
    page.print(tables.comparison(Comparison(found, summarise(found.benchmarks[0]), (), (), ()), page.width))


def searched() -> None:
    space, _ = parse_space(["drift.beta=0,0.1", "net.hidden=[10],[20]"])
    trials = [
        Trial(
            number=0,
            settings={"drift.beta": 0, "net.hidden": [10]},
            value=0.5,
            state="complete",
            reason=None,
            seconds=12.34,
        ),
        Trial(
            number=1,
            settings={"drift.beta": 0.1, "net.hidden": [10]},
            value=None,
            state="failed",
            reason="the loss became nan at step 3",
            seconds=2.0,
        ),
        Trial(
            number=2,
            settings={"drift.beta": 0.1, "net.hidden": [20]},
            value=0.75,
            state="complete",
            reason=None,
            seconds=13.0,
        ),
    ]
    path = "validation.scenarios.class.average_accuracy"
    found = SweepResult(
        Path("runs/s"),
        "split-digits",
        "hnet",
        path,
        True,
        space,
        "validation",
        "grid",
        4,
        tuple(trials),
        None,
    )
    page = console()
    page.print(table(found, 20))
    sweep._say(page, found, 0)


def listed_options() -> None:
    """Some options, with words of the test's own: those of real ones change with them."""
    with patch.object(listing, "config", SimpleNamespace(keys=lambda sections: OPTIONS)):
        console().print(option_table("er", "split-digits"))


OPTIONS = {
    "stream.tasks": FieldInfo("whole number or none", 5, "Tasks of the stream; none = as the benchmark has them."),
    "method.memory.policy": FieldInfo(
        "reservoir, ring or class-balanced",
        "reservoir",
        "What stays when the memory is full. reservoir: every sample with equal chance. ring: the latest of each class. "
        "class-balanced: as many of each class.",
    ),
    "ewc.strength": FieldInfo("number >= 0", 180.0, "Factor of the penalty."),
    "net.hidden": FieldInfo("list of whole numbers >= 1", (100, 100), "Units of each hidden layer."),
}  # fmt: skip


def learned() -> None:
    page, found = console(), {"digits 0, 1": (0.995, 0.97), "digits 2, 3": (0.98, 0.985)}
    page.print(tables.summary(summary_of(results("er"))))
    page.print(tables.kept(found, ""), soft_wrap=True)
    page.print(tables.kept({}, "there is no data directory"), soft_wrap=True)


PREDICTIONS = (
    Prediction(Path("more/owl/0.png"), 5, True, (("owl", 0.91), ("cat", 0.06), ("3", 0.01))),
    Prediction(Path("more/cat/1.png"), None, False, (("cat", 0.5), ("owl", 0.4)), strange=True),
)


def predicted() -> None:
    page = console()
    page.print(tables.predictions(PREDICTIONS, [f"task {t}" for t in range(6)], page.width))


CLASSES = (ClassAccuracy("owl", 40, 40, None), ClassAccuracy("cat", 38, 30, ("owl", 7)))
COMMANDS: Mapping[str, Callable[[], None]] = {
    "run": show_run,
    "show": lambda: tables.show_results(console(), results("hnet"), with_variants=False),
    "compare": compared,
    "list-options": listed_options,
    "list-runs": lambda: console().print(run_table(Path("runs"))),
    "sweep": searched,
    "learn": learned,
    "metrics": lambda: tables.pasted(console(), [[0.99, 0.1, 0.1], [0.8, 0.97, 0.2], [0.7, 0.9, 0.98]]),
    "predict": predicted,
    "evaluate": lambda: console().print(tables.class_accuracies(CLASSES)),
}  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed(
    command: str,
    width: str,
    runs: Writer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if width != "none":
        monkeypatch.setenv("COLUMNS", width)
    COMMANDS[command]()
    pinned(command, width, "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()))


class Screen(io.StringIO):
    """A terminal's lines, as far as a live line goes: it writes, goes back and up, and clears a line."""

    @property
    def lines(self) -> list[str]:
        lines, row = [""], 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif part.endswith("A") and part[0] == "\x1b":
                row -= int(part[2:-1] or 1)
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part[0] not in "\x1b\r":
                lines[row] += part
        return [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", WIDTHS[:-1])
def test_a_live_bar(width: str) -> None:
    """At five moments, the clock standing still."""
    screen, seen = Screen(), list[str]()
    page = _Page(file=screen, force_terminal=True, color_system=None, width=int(width), get_time=lambda: 0.0)
    trained(page, lambda: seen.append("\n".join(screen.lines)))
    pinned("bar", width, "\n---\n".join(seen))


def pinned(command: str, width: str, said: str) -> None:
    """`said` is what the file of the command at that width has."""
    said, file = f"{said}\n", SCREENS / f"{command}-{width}.txt"
    if os.environ.get("SCREENS") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(said, encoding="utf-8")
    assert said == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_options_fit_with_their_names_whole(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not to the letter: each option's own words stand there, and change with it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if width != "none":
        monkeypatch.setenv("COLUMNS", width)
    console().print(option_table("er", "split-digits"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(width if width != "none" else 160)
    first = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert {"method.memory.size", "net.hidden", "train.iterations", "stream.tasks"} <= set(first)
