"""Learning curves from events.jsonl, thinned while they are read, so a log of any length fits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypermnesia.evaluation.event_lines import StepLine, read_lines
from hypermnesia.evaluation.schema import LARGEST

_MOST_POINTS = 2048  # even, so that merged points stand for equally many readings
_BINS = 120

Point = tuple[float, float]


class _Thinned:
    """A series of fewer than `_MOST_POINTS` means: neighbours are merged when it is full."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._merge = 1  # readings per point
        self._pending: list[Point] = []

    def add(self, step: float, value: float) -> None:
        self._pending.append((step, value))
        if len(self._pending) == self._merge:
            self._flush()
        if len(self.points) == _MOST_POINTS:
            pairs = [self.points[i : i + 2] for i in range(0, len(self.points), 2)]
            self.points = [_mean(pair) for pair in pairs]
            self._merge *= 2

    def _flush(self) -> None:
        if self._pending:
            self.points.append(_mean(self._pending))
            self._pending = []

    def finish(self) -> tuple[Point, ...]:
        self._flush()
        return tuple(self.points)


@dataclass(frozen=True)
class Log:
    """One run's curves by name ("loss" first, then its terms) over the steps of all tasks, counted from 1.

    `starts[t]` is the step at which task t began; `problem` says where reading stopped, if it did.
    """

    curves: dict[str, tuple[Point, ...]] = field(default_factory=dict)
    starts: tuple[float, ...] = ()
    problem: str | None = None


def read(path: Path) -> Log:
    """The curves of one event log. A damaged line ends the reading and is told in `problem`."""
    series: dict[str, _Thinned] = {}
    starts: dict[int, float] = {}
    problem = None
    if not path.is_file():
        return Log()
    try:
        for number, (line, _) in enumerate(read_lines(path), start=1):
            if line is None:
                problem = f"events.jsonl: line {number} is no event; read up to it"
            elif isinstance(line, StepLine):
                starts.setdefault(line.task, line.total_steps)
                for name, value in {"loss": line.loss, **line.terms}.items():
                    if value is not None and abs(value) <= LARGEST:
                        series.setdefault(name, _Thinned()).add(line.total_steps, value)
    except OSError as error:
        problem = f"events.jsonl cannot be read: {error.strerror}"
    return Log({name: thinned.finish() for name, thinned in series.items()}, tuple(starts.values()), problem)


def average(logs: Sequence[Log]) -> dict[str, tuple[Point, ...]]:
    """The mean curve over seeds, in `_BINS` equal bins of the steps (bins without a reading are left out)."""
    end = max((points[-1][0] for log in logs for points in log.curves.values()), default=0.0) + 1
    curves: dict[str, tuple[Point, ...]] = {}
    for name in dict.fromkeys(name for log in logs for name in log.curves):
        bins: dict[int, list[Point]] = {}
        for log in logs:
            for step, value in log.curves.get(name, ()):
                bins.setdefault(int(step / end * _BINS), []).append((step, value))
        curves[name] = tuple(_mean(bins[key]) for key in sorted(bins))
    return curves


def _mean(points: Sequence[Point]) -> Point:
    n = len(points)
    return sum(step for step, _ in points) / n, sum(value / n for _, value in points)
