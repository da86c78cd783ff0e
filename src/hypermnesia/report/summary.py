"""The numbers of a comparison: a row per group, a column per metric, differences to the best."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from hypermnesia.core import units
from hypermnesia.evaluation.figures import ANYTIME, COSTS, ERROR, METRICS, Figure, worded
from hypermnesia.evaluation.schema import Result
from hypermnesia.evaluation.statistics import PairedDifference, Statistics, paired_difference, statistics
from hypermnesia.report.comparable import BOUNDS, Differing, same_machine, sets
from hypermnesia.report.load import Benchmark, Group

_KEEPS = {
    "gdumb": "trained anew on its memory after each task",
    "separate": "a network for each task",
    "frozen-heads": "a body that is frozen after the first task",
}
"""Approaches whose forgetting is small by construction, and why."""
_FORGETTING = ("forgetting", "backward_transfer")
_TIMES = ("costs.train_seconds", "costs.steps_per_second")
_ENOUGH = 3
"""Seeds from which on means are ranked as they are."""

SCENARIO_NAMES = {"class": "class-incremental", "domain": "domain-incremental", "task": "task-incremental"}


def scenario_title(name: str) -> str:
    """`Class-incremental`, at the beginning of a heading."""
    words = SCENARIO_NAMES.get(name, name)
    return words[:1].upper() + words[1:]


_MEANINGS = {
    "class": "Class-incremental: the task is inferred, or one head answers for all classes.",
    "domain": "Domain-incremental: every task has the same classes and the task is not given.",
    "task": "Task-incremental: the task is given.",
}
_OF_NUMBERS = {"domain": "Domain-incremental: every task tells the same number and the task is not given."}


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
    """One group's statistics by column key, and its paired difference to the best group of its set (None: no pairs)."""

    group: Group
    set: str
    """The letter of the rows that it can be compared with; empty where all can be."""
    bound: str | None
    statistics: dict[str, Statistics]
    difference: PairedDifference | None
    is_best: bool
    look: int  # index of its colour and marker; bounds have neutral looks below 0


@dataclass(frozen=True)
class Summary:
    """The rows of a benchmark by average accuracy in the primary scenario, best first.

    `winners`: by set and column key the best mean as it is written, where at least two rows of the set compete and seeds
    that are fewer than three do not leave it open.
    """

    benchmark: Benchmark
    primary: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    winners: dict[tuple[str, str], str]
    differing: tuple[Differing, ...] = ()
    """In what the sets of rows differ; empty where all rows can be compared."""
    remarks: tuple[str, ...] = ()
    """Which figures cannot win, and why."""

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The benchmark's, the primary one first."""
        return tuple(sorted(self.benchmark.scenarios, key=lambda name: name != self.primary))

    def column(self, key: str) -> Column:
        return next(column for column in self.columns if column.key == key)

    def written(self, row: Row, key: str) -> str:
        found = row.statistics[key]
        return self.column(key).write(found["mean"], found["ci95"])

    def wins(self, row: Row, key: str) -> bool:
        """Whether the row's mean is the best of its column, as far as the digits shown can tell."""
        mean = row.statistics[key]["mean"]
        return (
            mean is not None
            and _competes(row, self.column(key))
            and self.column(key).write(mean, None) == self.winners.get((row.set, key))
        )

    @property
    def limits(self) -> tuple[float, float]:
        """Of axes of accuracies in %; R² has no least value."""
        return (-inf if self.benchmark.numbers else 0, 100)

    def worded(self, text: str) -> str:
        """A text that speaks of accuracies, of R² where numbers were learned."""
        return worded(text, self.benchmark.numbers)

    @property
    def meanings(self) -> list[str]:
        """What its scenarios are, a sentence each."""
        known = _MEANINGS | (_OF_NUMBERS if self.benchmark.numbers else {})
        return [known[name] for name in self.scenarios if name in known]

    @property
    def main(self) -> tuple[str, ...]:
        """Keys of the columns that belong into the short table."""
        wanted = [f"{name}.average_accuracy" for name in self.scenarios]
        wanted += [f"{self.primary}.{ERROR.name}"] if self.benchmark.numbers else []
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
    columns = _columns(benchmark.scenarios, benchmark.numbers)
    key = f"{primary}.average_accuracy"
    found = [
        (group, {c.key: statistics([c.value(seed.result) for seed in group.seeds]) for c in columns})
        for group in benchmark.groups
    ]
    found.sort(key=lambda pair: -inf if (mean := pair[1][key]["mean"]) is None else mean, reverse=True)
    letters, differing = sets([group for group, _ in found])
    best: dict[str, Group] = {}
    rivals = Counter[str]()
    for (group, _), letter in zip(found, letters, strict=True):
        if group.approach not in BOUNDS:
            best.setdefault(letter, group)
            rivals[letter] += 1
    looks = {True: iter(range(-1, -len(found) - 1, -1)), False: iter(range(len(found)))}
    rows = tuple(
        Row(
            group,
            letter,
            BOUNDS.get(group.approach),
            numbers,
            difference(group, best.get(letter), primary),
            group is best.get(letter) and not (differing and rivals[letter] < 2),
            next(looks[group.approach in BOUNDS]),
        )
        for (group, numbers), letter in zip(found, letters, strict=True)
    )
    alike = same_machine([row.group for row in rows if row.bound is None])
    winners = {
        (letter, column.key): winner
        for letter in dict.fromkeys(letters)
        for column in columns
        if (alike or column.key not in _TIMES)
        and (winner := _winner([row for row in rows if row.set == letter], column))
    }
    remarks = tuple(_remarks(rows, alike))
    return Summary(benchmark, primary, columns, rows, winners, tuple(differing), remarks)


def _remarks(rows: Sequence[Row], alike: bool) -> Iterator[str]:
    counts = [len(row.group.seeds) for row in rows if row.bound is None]
    if len(counts) > 1 and max(counts) == 1:
        yield "One seed each: what is bold is a hint."
    elif len(counts) > 1 and min(counts) < _ENOUGH:
        yield "Where there are fewer than three seeds, bold is only what no seed of another approach reaches."
    for row in rows:
        if why := _keeps(row.group):
            yield f"Forgetting of {row.group.label} is small by construction ({why}) and wins nothing."
    if not alike:
        yield "Times were taken on different processors, devices or numbers of threads, so none is the best."


def _keeps(group: Group) -> str | None:
    """Why the group's forgetting is small by construction, so that it is shown and wins nothing; None = it is not."""
    if all(seed.result.costs.steps == 0 for seed in group.seeds):
        return "never trained"  # a classifier in closed form
    if group.first.settings.get("method.adapt") == "true":
        return "never trained after the first task"  # the same
    return _KEEPS.get(group.approach)


def primary_scenario(benchmark: Benchmark) -> str:
    """The scenario that most groups have an average accuracy for; of several `task`, where most approaches have weights
    for each task, and else the hardest."""

    def groups_with(name: str) -> int:
        return sum(
            any(_accuracy(seed.result, name) is not None for seed in g.seeds) for g in benchmark.groups
        )

    rivals = [group for group in benchmark.groups if group.approach not in BOUNDS]
    by_task = 2 * sum(map(_weights_for_each_task, rivals)) > len(rivals)
    return max(benchmark.scenarios, key=lambda name: (groups_with(name), by_task and name == "task"))


def _weights_for_each_task(group: Group) -> bool:
    own = group.first.settings
    return own.get("weights.kind", "plain") != "plain" or own.get("weights.per_task", "[]") != "[]"


def _competes(row: Row, column: Column) -> bool:
    """Whether the row's mean may be the best of its column: bounds, what is small by construction, and costs of 0 do not."""
    if row.bound is not None or (column.key.endswith(_FORGETTING) and _keeps(row.group)):
        return False
    return not (column.key.startswith("costs.") and row.statistics[column.key]["mean"] == 0)


def _winner(rows: Sequence[Row], column: Column) -> str | None:
    """The best mean as it is written; None where there is none, or too few seeds to tell."""
    key, better = column.key, column.better
    rivals = [row for row in rows if _competes(row, column) and row.statistics[key]["mean"] is not None]
    if better == 0 or len(rivals) < 2:
        return None
    best = column.write(max((row.statistics[key]["mean"] or 0.0) * better for row in rivals) * better, None)
    winning, beaten = list[float](), list[float]()
    for row in rivals:
        values = [column.value(seed.result) for seed in row.group.seeds]
        own = winning if column.write(row.statistics[key]["mean"], None) == best else beaten
        own += [better * value for value in values if value is not None]
    few = min(row.statistics[key]["n"] for row in rivals) < _ENOUGH
    return None if few and beaten and max(beaten) >= min(winning) else best


def difference(group: Group, best: Group | None, scenario: str) -> PairedDifference | None:
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


def _columns(scenarios: Sequence[str], numbers: bool = False) -> tuple[Column, ...]:
    """`numbers`: of what has learned these."""
    columns = []
    for scenario in scenarios:
        of = SCENARIO_NAMES.get(scenario, scenario)
        for figure in METRICS:
            key = f"{scenario}.{figure.name}"
            title = worded(f"{figure.short or figure.title}, {of}", numbers)
            columns.append(_share(key, title, figure, _of_scenario(scenario, figure.name)))
        for figure in ANYTIME:
            key = f"anytime.{scenario}.{figure.name}"
            title = worded(f"{figure.title}, {of}", numbers)
            columns.append(_share(key, title, figure, _of_anytime(scenario, figure.name)))
        if numbers:
            key, write = f"{scenario}.{ERROR.name}", partial(units.spread, ERROR.write)
            value = _of_scenario(scenario, ERROR.name)
            columns.append(Column(key, f"{ERROR.title}, {of}", "", ERROR.better, value, write, ""))
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
