"""The terminal, and what it shows of work that is no training: a moving line, or elsewhere a line now and then. No torch."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.segment import Segment

from hypermnesia.core import waiting
from hypermnesia.core.printable import printable

PATIENCE = 2.0
"""Seconds of work before the first line where no line can move."""
AGAIN = 20.0
"""Seconds to the next line there."""
_WIDTH_ELSEWHERE = 160  # columns of a table that goes to a file or a pipe
_SOON = 0.3  # seconds of counted work before a line on a terminal


class _Page(Console):
    """A page on which no text moves the cursor or changes colours, whoever wrote it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for part in super().render(renderable, options):
            yield part if part.control else Segment(printable(part.text, breaks=True), part.style)


def console(stderr: bool = False) -> Console:
    """The terminal, or a plain and wide page where that stream is none."""
    found = _Page(stderr=stderr, highlight=False, markup=False, emoji=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return _Page(stderr=stderr, highlight=False, markup=False, emoji=False, width=_WIDTH_ELSEWHERE)


@contextmanager
def showing_work(page: Console) -> Iterator[None]:
    """Show on `page` what long work within the block tells of itself (`core.waiting`)."""
    view = _Moving(page) if page.is_terminal else _Lines(page)
    with waiting.told(view):
        try:
            yield
        finally:
            view.end()


class _Lines:
    """For files, pipes and logs."""

    def __init__(self, page: Console) -> None:
        self._page, self._what, self._due = page, "", 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._due = what, now + PATIENCE
        if done >= total:
            self._what = ""
        elif now >= self._due:
            self._page.print(f"{what}: {done:,} of {total:,}")
            self._due = now + AGAIN

    def end(self) -> None:
        """What was printed stays."""


class _Moving:
    """A line that a thread keeps moving, also while the work says nothing, and that is gone when the work is done."""

    def __init__(self, page: Console) -> None:
        self._page, self._what, self._began = page, "", 0.0
        self._bar: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.end()
            self._what, self._began = what, time.monotonic()
        if done >= total:
            self.end()
        elif self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif total == 1 or time.monotonic() - self._began > _SOON:
            counts = [] if total == 1 else [BarColumn(bar_width=20), MofNCompleteColumn()]
            columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), *counts]
            self._bar = Progress(*columns, console=self._page, transient=True)
            self._bar.add_task(what, total=None if total == 1 else total, completed=done)
            self._bar.start()

    def end(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._what = None, ""
