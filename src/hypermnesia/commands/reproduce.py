"""Published figures against our own: run a recipe, say how far off it is, and keep a ledger of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from hypermnesia.commands.arguments import parse_seeds
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.files import replace_file
from hypermnesia.evaluation.statistics import Statistics, statistics
from hypermnesia.experiments import config, recipes
from hypermnesia.experiments.recipes import Published, Recipe, recipe
from hypermnesia.experiments.resolve import resolve_recipe
from hypermnesia.runs import results
from hypermnesia.runs.directory import default_directory, environment_of, read_result
from hypermnesia.runs.execute import Listen, Stacked, execute_seeds, silent

Budget = Literal["full", "short"]
BUDGETS: tuple[Budget, ...] = ("full", "short")
Verdict = Literal["reproduced", "above", "below", "undefined"]


def verdict(mean: float | None, expected: float, tolerance: float) -> Verdict:
    """Whether `mean` is within `expected` ± `tolerance`, or on which side it lies: too good is a difference as well."""
    if mean is None:
        return "undefined"
    if abs(mean - expected) <= tolerance + 1e-12:
        return "reproduced"
    return "above" if mean > expected else "below"


@dataclass(frozen=True)
class Figure:
    """One published figure and ours, in fractions."""

    published: Published
    measured: Statistics
    expected: float | None
    """What ours is held against: the published value, at a short budget the recipe's own expectation if it has one;
    None: not comparable."""

    @property
    def difference(self) -> float | None:
        """Measured mean − published."""
        mean = self.measured["mean"]
        return None if mean is None else mean - self.published.value

    @property
    def verdict(self) -> Verdict | None:
        """Where our mean lies beside what is expected; None: not comparable."""
        if self.expected is None:
            return None
        return verdict(self.measured["mean"], self.expected, self.published.tolerance)

    @property
    def within(self) -> bool | None:
        """Whether the mean differs from what is expected by no more than the tolerance; None: not comparable."""
        return None if self.verdict is None else self.verdict == "reproduced"


@dataclass(frozen=True)
class Reproduction:
    """A recipe, run."""

    recipe: Recipe
    budget: Budget
    seeds: tuple[int, ...]
    directory: Path
    """The runs are in `directory`/seed-K."""
    figures: tuple[Figure, ...]

    @property
    def passed(self) -> bool:
        """Whether no figure that can be compared is out of tolerance."""
        return all(figure.within is not False for figure in self.figures)


def matching(patterns: Sequence[str]) -> tuple[str, ...]:
    """The recipes that the patterns name, each once: a name as it is, or those with published figures that fit a pattern
    such as `split-mnist-*`. Raises `HypermnesiaError` for a name or a pattern without a recipe."""
    found: list[str] = []
    for pattern in patterns:
        if not any(sign in pattern for sign in "*?["):
            found.append(recipe(pattern).name)
            continue
        fitting = [
            r.name for r in recipes.all_recipes().values() if r.published and fnmatchcase(r.name, pattern)
        ]
        if not fitting:
            raise HypermnesiaError(
                f"no recipe with published figures is called {pattern!r}; `hypermnesia list recipes` shows all"
            )
        found += fitting
    return tuple(dict.fromkeys(found))


def reproduce(
    name: str,
    budget: Budget = "full",
    *,
    seeds: Sequence[int] | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
    listen: Listen = silent,
    stacked: Stacked = "off",
) -> Reproduction:
    """Run the recipe called `name` and hold its figures against the published ones.

    `budget`: full uses the recipe's settings and seeds; short its shortened settings and its first seed. `seeds`:
    others than those. Runs lie in `out` (default: where `hypermnesia run` would put them); finished ones are not
    repeated. `stacked`: whether the seeds train as one program, equal but for rounding. Raises `HypermnesiaError` for an
    unknown recipe, one without published figures, and bad data.
    """
    if budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    chosen = recipe(name)
    if not chosen.published:
        raise HypermnesiaError(f"the recipe {name} has no published figure to hold ours against")
    cfg, own = resolve_recipe(name, short=budget == "short"), parse_seeds(chosen.seeds)
    numbers = tuple(seeds) if seeds is not None else own if budget == "full" else own[:1]
    directory = out or default_directory(cfg)
    execute_seeds(cfg, numbers, directory, data_dir=data_dir, device=device, listen=listen, stacked=stacked)
    found = [read_result(directory / f"seed-{seed}") or {} for seed in numbers]
    figures = [
        Figure(p, statistics([results.read_figure(r, p.metric) for r in found]), _expected(p, budget))
        for p in chosen.published
    ]
    return Reproduction(chosen, budget, numbers, directory, tuple(figures))


def _expected(published: Published, budget: Budget) -> float | None:
    return published.value if budget == "full" else published.short


# ---------------------------------------------------------------------------------------------------- the ledger


def read_ledger(path: Path) -> dict[str, Any]:
    """Recipe → budget → what `record` wrote; empty if there is no such file."""
    try:
        return config.from_toml(path.read_text(encoding="utf-8"), str(path)) if path.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise HypermnesiaError(f"the ledger {path} cannot be read: {error}") from error


def record(done: Reproduction, path: Path) -> None:
    """Put a reproduction into the ledger at `path` (TOML), in place of an older one of that recipe and budget."""
    ledger = read_ledger(path)
    of_recipe = ledger.setdefault(done.recipe.name, {})
    if not isinstance(of_recipe, dict):
        raise HypermnesiaError(f"{path}: {done.recipe.name} is no table; repair or remove the ledger")
    of_recipe[done.budget] = _entry(done)
    text = config.to_toml({name: ledger[name] for name in sorted(ledger)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (_HEAD + text).encode())
    except OSError as error:
        raise HypermnesiaError(f"cannot write the ledger {path}: {error.strerror or error}") from error


_HEAD = (
    "# What `hypermnesia reproduce NAME --record FILE` measured. Accuracies are fractions in 0..1; steps and seconds of\n"
    "# training are those of all seeds together.\n\n"
)


def _entry(done: Reproduction) -> dict[str, Any]:
    seeds = [done.directory / f"seed-{seed}" for seed in done.seeds]
    about = environment_of(seeds[-1])
    costs = [(read_result(seed) or {}).get("costs") or {} for seed in seeds]
    day = time.strftime("%Y-%m-%d", time.gmtime((seeds[-1] / "result.json").stat().st_mtime))
    return {
        "date": day,
        "passed": done.passed,
        "seeds": list(done.seeds),
        "device": _text(about, "device"),
        "processor": _text(about, "processor"),
        "platform": _text(about, "platform"),
        "threads": about.get("threads"),
        **({"stacked": True} if about.get("stacked_with") else {}),
        "steps": sum(cost.get("steps") or 0 for cost in costs),
        "seconds": round(sum(cost.get("train_seconds") or 0.0 for cost in costs), 3),
        "commit": _text(about, "commit") or "unknown: run outside a checkout",
        "versions": {
            "hypermnesia": _text(about, "hypermnesia"),
            "torch": _text(about.get("versions", {}), "torch"),
        },
        "figures": {figure.published.metric: _figure(figure) for figure in done.figures},
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "published": figure.published.value,
        "tolerance": figure.published.tolerance,
        "mean": figure.measured["mean"],
        "std": figure.measured["std"],
        "verdict": figure.verdict,
    }


def _text(about: Mapping[str, Any], key: str) -> str | None:
    value = about.get(key)
    return None if value is None else str(value)
