"""What a run shows while it trains: a progress bar on a terminal, one line for each task elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from hypermnesia.commands.terminal import console as console
from hypermnesia.commands.terminal import showing_work
from hypermnesia.core import units, waiting
from hypermnesia.data import Stream
from hypermnesia.evaluation.evaluate import tests_are_tasks
from hypermnesia.evaluation.figures import beside
from hypermnesia.evaluation.metrics import accuracy_so_far
from hypermnesia.experiments.resolve import Config, chosen
from hypermnesia.runs.directory import saved_stream
from hypermnesia.runs.execute import Listen
from hypermnesia.runs.recorder import Listener
from hypermnesia.training.events import Evaluated, Event, RunBegun, RunEnded, StepDone, TaskEnded, TaskStarted

REFRESH = 0.25
"""Seconds between two looks at a loss, each of which may make the host wait for the accelerator."""


def together(*listens: Listen) -> Listen:
    """One `Listen` of several."""

    @contextlib.contextmanager
    def listen(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(one(cfg, seed, directory)) for one in listens]

            def hear(event: Event) -> None:
                for listener in listeners:
                    listener(event)

            yield hear

    return listen


def showing(console: Console) -> Listen:
    """What `runs.execute_seeds` takes to have every run shown on `console`, one after the other."""

    @contextlib.contextmanager
    def listen(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
        progress = RunProgress.of(cfg, seed, directory)
        with view(console, progress) as show:

            def hear(event: Event) -> None:
                resumed = progress.hear(event)
                if isinstance(event, RunBegun):
                    console.print(f"{progress.title}: {beginning(cfg, event, directory)}", soft_wrap=True)
                    return
                if resumed:
                    console.print(
                        f"{progress.title}: goes on with task {progress.task + 1} of {progress.tasks}"
                    )
                show(event)

            yield hear
        if not progress.began:
            console.print(f"{progress.title}: already finished, in {directory}", soft_wrap=True)

    return listen


def beginning(cfg: Config, event: RunBegun, directory: Path) -> str:
    """`mlp, 17.6 k parameters, 5 tasks × 300 steps of 32, in runs/…`"""
    train = event.train
    budget = f"{train.epochs:g} epochs" if train.iterations is None else f"{train.iterations:,} steps"
    tasks = f"{event.tasks} task{'s' if event.tasks > 1 else ''}"
    net, parameters = chosen(cfg.sections)["net.name"], units.count(event.parameters)
    return f"{net}, {parameters} parameters, {tasks} × {budget} of {train.batch_size}, in {directory}"


class RunProgress:
    """How far a run is: what its events have told so far."""

    def __init__(
        self, title: str, short_title: str, stream: Callable[[], Stream], joined: bool = False
    ) -> None:
        """`stream`: asked for when the first event has come; `joined`: whether its tasks are trained as one."""
        self.title, self.short_title = title, short_title
        self.began = False
        self.task, self.tasks = 0, 1
        self.accuracy = ""
        """Mean accuracy over the tasks so far, by scenario."""
        self._stream, self._joined, self._of, self._by_task = stream, joined, "", True

    @classmethod
    def of(cls, cfg: Config, seed: int, directory: Path) -> "RunProgress":
        """Of a run on disk."""
        short = f"{cfg.approach.name} · seed {seed}"
        title = f"{cfg.benchmark} · {short}"
        return cls(title, short, lambda: saved_stream(directory), cfg.approach.joined)

    def hear(self, event: Event) -> bool:
        """Take in the next event; returns whether it is the first one of a run that began earlier."""
        if isinstance(event, RunBegun):
            return False
        first, self.began = not self.began, True
        if first:
            stream = self._stream()
            self.tasks = 1 if self._joined else len(stream.tasks)
            self._by_task = tests_are_tasks(stream)
            self._of = beside(stream.target is not None)
        self.task = getattr(event, "task", self.task)
        if isinstance(event, Evaluated) and event.task >= 0:
            self.accuracy = self._accuracies(event)
        fresh = (
            isinstance(event, Evaluated)
            and event.task < 0
            or isinstance(event, TaskStarted)
            and event.task == 0
        )
        return first and not fresh

    def now(self, event: Event) -> tuple[float, str]:
        """(share of the run that is done, in words where it is) at an event."""
        where = f"task {max(self.task, 0) + 1}/{self.tasks}"
        if isinstance(event, StepDone):
            within = (event.task + event.step / event.steps) / self.tasks
            state = (
                where,
                f"step {event.step}/{event.steps}",
                f"loss {float(event.loss):.3g}",
                self.accuracy,
            )
        elif isinstance(event, RunEnded):
            within, state = 1.0, (self.accuracy,)
        else:
            done = self.task + isinstance(event, Evaluated | TaskEnded)
            within, state = done / self.tasks, (where, self.accuracy)
        return within, " · ".join(filter(None, state))

    def task_done(self, event: TaskEnded) -> str:
        """The line for a finished task."""
        done = f"task {event.task + 1}/{self.tasks} done after {units.duration(event.seconds)} of training"
        return f"{self.title}: {done}: {self.accuracy or 'not evaluated yet'}"

    def _accuracies(self, event: Evaluated) -> str:
        rows = dict(event.scenarios) or {
            f"validation {name}": row for name, row in (event.validation or {}).items()
        }
        tasks = self.tasks if self._by_task or not event.scenarios else 0
        found = {name: accuracy_so_far(row, event.task, tasks) for name, row in rows.items()}
        return " ".join(
            f"{self._of}{name} {100 * value:.1f}%" for name, value in found.items() if value is not None
        )


def view(console: Console, progress: RunProgress) -> contextlib.AbstractContextManager[Listener]:
    """What shows a run's events on `console`: a bar on a terminal and in a notebook, elsewhere a line for each task."""
    if console.is_jupyter:
        return _notebook(progress)
    return _bar(console, progress) if console.is_terminal else _lines(console, progress)


def watched(console: Console) -> bool:
    """Whether somebody looks at the console while it is written: a terminal or a notebook."""
    return console.is_terminal or console.is_jupyter


@contextlib.contextmanager
def _lines(console: Console, progress: RunProgress) -> Iterator[Listener]:
    """One line for each task: for files, pipes and logs."""

    def show(event: Event) -> None:
        if isinstance(event, TaskEnded):
            console.print(progress.task_done(event), soft_wrap=True)

    with showing_work(console):
        yield show


@contextlib.contextmanager
def _bar(console: Console, progress: RunProgress) -> Iterator[Listener]:
    """A live line: task, step, loss, accuracy so far, time left; lines of finished tasks stay above it.

    A thread keeps it moving, whatever takes long.
    """
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=12),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn(
            "{task.fields[state]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=console,
        refresh_per_second=4,
        expand=True,
    )
    row = bar.add_task(progress.short_title, total=1.0, state="being set up")
    told = -REFRESH

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= REFRESH:
            state = what if total == 1 else f"{what}: {done:,} of {total:,}"
            bar.update(row, state=state, refresh=True)
            told = time.monotonic()

    look = _now_and_then(
        progress, lambda within, state: bar.update(row, completed=within, state=state, refresh=True)
    )

    def show(event: Event) -> None:
        if isinstance(event, TaskEnded):
            console.print(progress.task_done(event))
        look(event)

    with waiting.told(tell):
        bar.start()
        try:
            yield show
        finally:
            bar.live.transient = not progress.began  # of a run that was finished already, nothing stays
            bar.stop()


def _now_and_then(progress: RunProgress, update: Callable[[float, str], None]) -> Listener:
    """Looks at all events but those steps that come too soon after the last look."""
    shown = -REFRESH

    def show(event: Event) -> None:
        nonlocal shown
        if isinstance(event, StepDone) and time.monotonic() - shown < REFRESH:
            return
        update(*progress.now(event))
        shown = time.monotonic()

    return show


@contextlib.contextmanager
def _notebook(progress: RunProgress) -> Iterator[Listener]:
    """The browser's own bar, in the output of the cell that runs."""
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

    place = display(HTML(""), display_id=True)
    assert place is not None

    def update(within: float, state: str) -> None:
        text = escape(f"{progress.short_title} · {state}")
        place.update(HTML(f'<progress value="{within:.3f}"></progress> {text}'))

    yield _now_and_then(progress, update)
