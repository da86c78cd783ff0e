"""All published figures beside ours, as one page in Markdown: from the recipes and the ledger, and nothing else."""

from collections import Counter
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from hypermnesia.commands.arguments import parse_seeds
from hypermnesia.commands.reproduce import verdict
from hypermnesia.core import units
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import replace_file
from hypermnesia.data.benchmarks import find_benchmark
from hypermnesia.experiments import recipes
from hypermnesia.experiments.recipes import Published, Recipe
from hypermnesia.experiments.resolve import resolve_recipe

SOURCES = {
    "digits": (1438, 10),
    "mnist": (60_000, 10),
    "fashion-mnist": (60_000, 10),
    "cifar10": (50_000, 10),
    "cifar100": (50_000, 100),
    "tiny-imagenet": (100_000, 200),
}
"""Training images and classes of the data sets that recipes run on."""
TURNING = 54_051
"""Training images of the digits 0 to 8, which MNIST-360 shows once."""


def write_page(ledger: Mapping[str, Any], path: Path) -> None:
    """Write `page(ledger)` to `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, page(ledger).encode())
    except OSError as error:
        raise HypermnesiaError(f"cannot write {path}: {error.strerror or error}") from error


def page(ledger: Mapping[str, Any]) -> str:
    """Every figure of every recipe: published, ours by the ledger's full budget, and what came of it.

    Raises `HypermnesiaError` for an entry of the ledger that is damaged.
    """
    rows: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for recipe in recipes.all_recipes().values():
        for figure in recipe.published:
            outcome, row = _row(recipe, figure, ledger.get(recipe.name, {}).get("full"))
            counts[outcome] += 1
            rows.setdefault(recipe.benchmark, []).append(row)
    told = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("reproduced", "above", "below", "undefined", "not run")
    )
    parts = [_HEAD.format(figures=sum(counts.values()), told=told)]
    for benchmark, lines in sorted(rows.items()):
        parts.append(f"## {benchmark}\n\n{_COLUMNS}\n" + "\n".join(lines) + "\n")
    if gone := sorted(set(ledger) - set(recipes.all_recipes())):
        parts.append(f"In the ledger, but no recipe any more: {', '.join(gone)}.\n")
    return "\n".join(parts)


_HEAD = """# Published and reproduced

Made by `hypermnesia reproduce --page docs/reproduction.md` from the recipes and the ledger ([results.toml](results.toml));
edit neither this page nor the ledger. {figures} published figures: {told}.

Percentages; ours is a mean ± one standard deviation over the seeds. *Reproduced*: our mean is within the recipe's tolerance of
the published value, on either side; *above* and *below* are differences, of which [results](results.md) says what is known.
*Not run*: about so many optimizer steps for all the paper's seeds (`hnet-replay` and `hnet-tir` train further networks
on top, for as long). † quoted from elsewhere, not read in the source. A row is run by `hypermnesia reproduce RECIPE
--data-dir data --record docs/results.toml`; shorter with `--seeds 0`.
"""
_COLUMNS = "| recipe | figure | published | ours | difference | tolerance | seeds | |\n|---|---|---|---|---|---|---|---|"


def _row(recipe: Recipe, figure: Published, entry: Any) -> tuple[str, str]:
    """(outcome, a line of the table)."""
    name = figure.metric.removeprefix("scenarios.").removesuffix(".average_accuracy").replace("_", " ")
    published = units.interval(figure.value, figure.std) + ("" if figure.checked else " †")
    try:
        found = None if entry is None else entry["figures"].get(figure.metric)
        if entry is None or found is None:
            outcome, seeds = "not run", len(parse_seeds(recipe.seeds))
            cells = [units.MISSING] * 2
            said = f"not run: {units.count(seeds * steps(recipe))} steps"
        else:
            mean, std = (None if found[key] == "none" else found[key] for key in ("mean", "std"))
            outcome = said = verdict(mean, figure.value, figure.tolerance)
            difference = None if mean is None else mean - figure.value
            cells = [units.interval(mean, std), units.percent(difference, signed=True)]
            seeds = len(entry["seeds"])
    except (KeyError, TypeError, AttributeError) as error:
        raise HypermnesiaError(
            f"the ledger's entry of {recipe.name} is damaged ({error!r}); remove it"
        ) from error
    about = [f"`{recipe.name}`", name, published, *cells, units.percent(figure.tolerance), str(seeds), said]
    return outcome, f"| {' | '.join(about)} |"


def steps(recipe: Recipe) -> int:
    """Optimizer steps of one full run on the stream, but for a few: partial batches are counted task by task."""
    cfg = resolve_recipe(recipe.name)
    train = cfg.sections["train"]
    tasks, samples = _extent(recipe)
    if train.iterations is not None:
        return tasks * train.iterations
    tasks = 1 if cfg.approach.joined else tasks
    return tasks * ceil(train.epochs * ceil(samples / tasks / train.batch_size))


def _extent(recipe: Recipe) -> tuple[int, int]:
    """(tasks, training samples of all of them) of the recipe's stream."""
    entry = find_benchmark(recipe.benchmark)
    options = resolve_recipe(recipe.name).sections["stream"].over(entry.defaults)
    classes = [
        images // number for images, number in map(SOURCES.__getitem__, entry.sources) for _ in range(number)
    ]
    tasks, kept = options.tasks or 1, 1 - (options.validation or 0)
    match entry.scenario.name:
        case "mnist-360":
            return 27, TURNING
        case "permuted" | "rotated":
            samples = tasks * sum(classes)
        case "sampling":
            samples = tasks * options.samples_per_task
        case "slots":
            samples = sum(classes)
        case _:
            samples = sum(classes[: tasks * options.classes_per_task])
    return tasks, round(kept * samples)
