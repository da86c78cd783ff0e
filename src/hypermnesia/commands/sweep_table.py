"""A search while it runs: a live table in a terminal, a line per finished trial elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hypermnesia.evaluation.schema import Trial
from hypermnesia.experiments.config.words import write_value
from hypermnesia.sweep.record import SweepResult

_STYLES = {"complete": "green", "running": "cyan", "pruned": "yellow", "failed": "red"}
_BESIDE_ROWS = 6
"""Lines of the table that are no trials."""


@contextmanager
def shown(console: Console) -> Iterator[Callable[[SweepResult], None]]:
    """A listener for `sweep` that tells people on `console` what happens."""
    if not console.is_terminal:
        yield _lines(console)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        last: list[object] = []

        def show(result: SweepResult) -> None:
            state = [result.trials, result.final, console.size]
            if state != last:
                last[:] = state
                live.update(table(result, max(3, console.size.height - _BESIDE_ROWS)), refresh=True)

        yield show


def table(result: SweepResult, rows: int) -> Table:
    """The search as a table of at most `rows` trials: the latest ones, and the best one however long ago."""
    best = result.best
    trials = list(result.trials)[-rows:]
    if best is not None and best not in trials:
        trials = [best, *trials[1:]]
    finished = sum(trial.state != "running" for trial in result.trials)
    made = Table(title=f"{result.approach} on {result.benchmark}", caption=_caption(result, finished))
    made.add_column("trial", justify="right")
    for key in result.space:
        made.add_column(key)
    made.add_column(result.objective.rpartition(".")[2].replace("_", " "), justify="right")
    made.add_column("state")
    made.add_column("seconds", justify="right")
    for column in made.columns:
        column.overflow = "fold"  # rather than an end that is cut off
    for trial in trials:
        style = "bold" if best is not None and trial.number == best.number else None
        made.add_row(*_cells(trial, result), style=style)
    return made


def _caption(result: SweepResult, finished: int) -> str:
    said = f"{finished} of {result.asked} trials, {result.objective}"
    if result.best is None:
        return said
    if result.final is None:
        return f"{said}; best so far: trial {result.best.number}"
    return f"{said}; trial {result.best.number} run on test with seeds {_listed(result.final['seeds'])}"


def _cells(trial: Trial, result: SweepResult) -> list[Text]:
    settings = [write_value(trial.settings[key]) if key in trial.settings else "" for key in result.space]
    value = "" if trial.value is None else f"{trial.value:.4f}"
    seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
    state = Text(trial.state, _STYLES[trial.state])
    if trial.reason and trial.state == "failed":
        state.append(f": {_short(trial.reason)}")
    return [*map(Text, (str(trial.number), *settings, value)), state, Text(seconds)]


def _lines(console: Console) -> Callable[[SweepResult], None]:
    told: set[int] = set()
    over: list[bool] = []

    def show(result: SweepResult) -> None:
        for trial in result.trials:
            if trial.state != "running" and trial.number not in told:
                told.add(trial.number)
                console.print(Text(_line(trial)), soft_wrap=True)
        if result.final is not None and not over:
            over.append(True)
            seeds = _listed(result.final["seeds"])
            console.print(
                Text(f"trial {result.final['trial']} won; run on test with seeds {seeds}"), soft_wrap=True
            )

    return show


def _line(trial: Trial) -> str:
    settings = " ".join(f"{key}={write_value(value)}" for key, value in trial.settings.items())
    what = f"{trial.value:.4f}" if trial.value is not None else f"{trial.state} ({trial.reason})"
    return f"trial {trial.number}: {what}  {settings}  {trial.seconds or 0:.1f} s"


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
