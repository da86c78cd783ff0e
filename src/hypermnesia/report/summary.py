"""The numbers of a comparison: a row per group, a column per metric, differences to the best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hypermnesia.core import units
from hypermnesia.evaluation.figures import ANYTIME, COSTS, METRICS, Figure
from hypermnesia.evaluation.schema import Result
from hypermnesia.evaluation.statistics import PairedDifference, Statistics, paired_difference, statistics
from hypermnesia.report.load import Benchmark, Group

BOUNDS = {"joint": "upper bound", "finetune": "lower bound"}
"""Approaches that frame a comparison and do not compete: never the best, never what others differ from."""

SCENARIO_NAMES = {"class": "class-incremental", "domain": "domain-incremental", "task": "task-incremental"}
SCENARIO_MEANINGS = {
    "class": "Class-incremental: the task is inferred, or one head answers for all classes.",
    "domain": "Domain-incremental: every task has the same classes and the task is not given.",
    "task": "Task-incremental: the task is given.",
}


@dataclass(frozen=True)
class Column:
    """A metric. `better` is +1 where more is better, −1 where less is; `write` shows mean and interval."""

    key: str  # "class.average_accuracy", "costs.stored_bytes"
    title: str
    unit: str
    better: int
    value: Callable[[Result], float | None]
    write: Callable[[float | None, float | None], str]
    raw_unit: str  # of `scale` times the value, as CSV has it
    scale: float = 1


@dataclass(frozen=True)
class Row:
    """One group's statistics by column key, and its paired difference to the best group (None: no pairs)."""

    group: Group
    bound: str | None
    statistics: dict[str, Statistics]
    difference: PairedDifference | None
    is_best: bool
    look: int  # index of its colour and marker; bounds have neutral looks below 0


@dataclass(frozen=True)
class Summary:
    """The rows of a benchmark by average accuracy in the primary scenario, best first."""

    benchmark: Benchmark
    primary: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    winners: dict[str, str]  # column key -> the best mean as it is written; bounds do not compete

    def column(self, key: str) -> Column:
        return next(column for column in self.columns if column.key == key)

    def written(self, row: Row, key: str) -> str:
        found = row.statistics[key]
        return self.column(key).write(found["mean"], found["ci95"])

    def wins(self, row: Row, key: str) -> bool:
        """Whether the row's mean is the best of its column, as far as the digits shown can tell."""
        mean = row.statistics[key]["mean"]
        return (
            row.bound is None
            and mean is not None
            and self.column(key).write(mean, None) == self.winners.get(key)
        )

    @property
    def main(self) -> tuple[str, ...]:
        """Keys of the columns that belong into the short table."""
        wanted = [f"{name}.average_accuracy" for name in self.benchmark.scenarios]
        wanted += [f"{self.primary}.forgetting", f"{self.primary}.backward_transfer"]
        wanted += ["costs.trainable_parameters", "costs.stored_bytes", "costs.train_seconds"]
        return tuple(key for key in wanted if any(row.statistics[key]["n"] for row in self.rows))

    @property
    def rest(self) -> tuple[str, ...]:
        """Keys of all other columns that any row has a number for."""
        others = [column.key for column in self.columns if column.key not in self.main]
        return tuple(key for key in others if any(row.statistics[key]["n"] for row in self.rows))


def summarise(benchmark: Benchmark) -> Summary:
    primary = primary_scenario(benchmark)
    columns = _columns(benchmark.scenarios)
    key = f"{primary}.average_accuracy"
    found = [
        (group, {c.key: statistics([c.value(seed.result) for seed in group.seeds]) for c in columns})
        for group in benchmark.groups
    ]
    found.sort(key=lambda pair: -1.0 if (mean := pair[1][key]["mean"]) is None else mean, reverse=True)
    best = next((group for group, _ in found if group.approach not in BOUNDS), None)
    looks = {True: iter(range(-1, -len(found) - 1, -1)), False: iter(range(len(found)))}
    rows = tuple(
        Row(
            group,
            BOUNDS.get(group.approach),
            numbers,
            _difference(group, best, primary),
            group is best,
            next(looks[group.approach in BOUNDS]),
        )
        for group, numbers in found
    )
    return Summary(
        benchmark, primary, columns, rows, {c.key: best_ for c in columns if (best_ := _winner(rows, c))}
    )


def primary_scenario(benchmark: Benchmark) -> str:
    """The scenario that most groups have an average accuracy for; of several the hardest."""

    def groups_with(name: str) -> int:
        return sum(
            any(_accuracy(seed.result, name) is not None for seed in g.seeds) for g in benchmark.groups
        )

    return max(benchmark.scenarios, key=groups_with)


def _winner(rows: Sequence[Row], column: Column) -> str | None:
    means = [row.statistics[column.key]["mean"] for row in rows if row.bound is None]
    known = [mean for mean in means if mean is not None]
    if column.better == 0 or len(known) < 2:
        return None
    return column.write(max(known) if column.better > 0 else min(known), None)


def _difference(group: Group, best: Group | None, scenario: str) -> PairedDifference | None:
    """The group's accuracy minus the best group's, over at least two seeds run on the same stream."""
    if best is None or group is best:
        return None
    theirs = {seed.result.seed: seed.result for seed in best.seeds}
    pairs = [
        (seed.result, theirs[seed.result.seed])
        for seed in group.seeds
        if seed.result.seed in theirs and seed.result.stream_sha256 == theirs[seed.result.seed].stream_sha256
    ]
    found = paired_difference(
        [_accuracy(own, scenario) for own, _ in pairs], [_accuracy(other, scenario) for _, other in pairs]
    )
    return found if found["n"] >= 2 else None


def _accuracy(result: Result, scenario: str) -> float | None:
    return result.scenarios[scenario].average_accuracy if scenario in result.scenarios else None


def _columns(scenarios: Sequence[str]) -> tuple[Column, ...]:
    columns = []
    for scenario in scenarios:
        of = SCENARIO_NAMES.get(scenario, scenario)
        for figure in METRICS:
            key = f"{scenario}.{figure.name}"
            title = f"{figure.short or figure.title}, {of}"
            columns.append(_share(key, title, figure, _of_scenario(scenario, figure.name)))
        for figure in ANYTIME:
            key = f"anytime.{scenario}.{figure.name}"
            columns.append(_share(key, f"{figure.title}, {of}", figure, _of_anytime(scenario, figure.name)))
    for figure in COSTS:
        key, raw = f"costs.{figure.name}", "" if figure.unit == "count" else figure.unit
        write = partial(units.spread, figure.write)
        columns.append(Column(key, figure.title, "", figure.better, _of_costs(figure.name), write, raw))
    return tuple(columns)


def _share(key: str, title: str, figure: Figure, value: Callable[[Result], float | None]) -> Column:
    """A column of fractions: percentages, or percentage points where the number is a difference."""
    unit = "points" if figure.unit == "points" else "%"
    return Column(key, title, unit, figure.better, value, units.interval, unit, scale=100)


def _of_scenario(scenario: str, name: str) -> Callable[[Result], float | None]:
    return lambda result: getattr(result.scenarios.get(scenario), name, None)


def _of_anytime(scenario: str, name: str) -> Callable[[Result], float | None]:
    return lambda result: getattr(result.anytime.get(scenario), name, None)


def _of_costs(name: str) -> Callable[[Result], float | None]:
    return lambda result: getattr(result.costs, name)
