"""What there is to choose from, as tables: benchmarks, approaches, networks, recipes, options."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from hypermnesia.commands.reproduce import BUDGETS, read_ledger
from hypermnesia.commands.tables import block, plain_table
from hypermnesia.core import units
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.files import files_below
from hypermnesia.data import BENCHMARKS, find_benchmark
from hypermnesia.data.sources.registry import PREFIXES
from hypermnesia.evaluation.figures import beside
from hypermnesia.evaluation.infer import INFERENCES
from hypermnesia.experiments import config, recipes
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.config.words import write_value
from hypermnesia.experiments.penalties import JOINING
from hypermnesia.experiments.resolve import SELECTORS, chosen, resolve
from hypermnesia.nets import NETS, Pretrained
from hypermnesia.nets.backbones import FORMS
from hypermnesia.runs.directory import Unusable, environment_of, read_result, seed_directories
from hypermnesia.runs.results import summary_of
from hypermnesia.weights import GENERATORS


def _benchmarks() -> Table:
    table = plain_table("benchmark", "what it is", "tasks", "scenarios", left=2)
    table.columns[3].justify = "left"
    for name, entry in BENCHMARKS.items():
        tasks = entry.defaults.tasks
        table.add_row(
            name,
            entry.description,
            units.MISSING if tasks is None else str(tasks),
            ", ".join(entry.scenario.evaluated),
        )
    for form in PREFIXES.values():
        scenario = find_benchmark(form).scenario
        said = "each sub-folder a task" if scenario.name == "tasks" else "split by classes"
        table.add_row(form, f"your own data, {said}", "", ", ".join(scenario.evaluated))
    table.add_row(
        "python:MODULE:NAME", "your own: a hypermnesia.Stream, or a function that returns one", "", ""
    )
    return table


def _approaches() -> Table:
    table = plain_table("approach", "what it is", "", left=3)
    for entry in APPROACHES.values():
        table.add_row(entry.name, entry.summary, f"{entry.bound} bound" if entry.bound else "")
    table.add_row(
        "python:MODULE:CLASS", "a method of your own: a dataclass that inherits from hypermnesia.Method", ""
    )
    return table


def _parts(title: str, known: dict[str, type]) -> Table:
    table = plain_table(title, "what it is", "options", left=3)
    for name, options in known.items():
        said = " ".join((options.__doc__ or "").split("\n\n")[0].split())
        table.add_row(name, said, ", ".join(config.keys(options)))
    return table


def _generators() -> Table:
    table = _parts("generator", GENERATORS)
    table.add_row(
        "python:MODULE:CLASS",
        "your own: a dataclass that inherits from hypermnesia.weights.GeneratorOptions",
        "",
    )
    return table


def _nets() -> Table:
    table = _parts("net", NETS)
    for form in FORMS:
        table.add_row(
            form, "a pre-trained network, its classifier replaced", ", ".join(config.keys(Pretrained))
        )
    table.add_row("python:MODULE:FACTORY", "your own: factory(shape, outputs) → torch.nn.Module", "")
    return table


def recipe_table(ledger_path: Path) -> Table:
    """Every recipe, what was published, and how its reproductions in the ledger went."""
    ledger = read_ledger(ledger_path)
    table = plain_table("recipe", "published, in %", "read in the source", "reproduced", left=4)
    for recipe in recipes.all_recipes().values():
        figures = [f"{p.metric.removeprefix('scenarios.')} {100 * p.value:.2f}" for p in recipe.published]
        checked = [p.checked for p in recipe.published]
        read = "yes" if checked and all(checked) else "in part" if any(checked) else "no"
        done = ledger.get(recipe.name, {})
        told = [_reproduced(budget, done[budget]) for budget in BUDGETS if budget in done]
        table.add_row(recipe.name, "\n".join(figures), read, "\n".join(told))
    return table


def _reproduced(budget: str, entry: Any) -> str:
    try:
        measured = ", ".join(f"{100 * figure['mean']:.2f}" for figure in entry["figures"].values())
        verdict = "passed" if entry["passed"] else "NOT within tolerance"
        return f"{budget}: {measured} ({verdict}, {len(entry['seeds'])} seeds, {entry['date']}, {entry['processor']})"
    except (KeyError, TypeError, AttributeError) as error:
        raise HypermnesiaError(
            f"the ledger's entry of budget {budget} is damaged ({error!r}); remove it"
        ) from error


LONG = 40
"""Signs of a value; what is longer, such as an order of a hundred classes, is cut short."""


def option_table(approach: str, benchmark: str, words: Sequence[str] = ()) -> Group:
    """Every key that the approach has on the benchmark, with its type, its value there, and what it means."""
    cfg = resolve(benchmark, approach, words)
    table = plain_table("key", "value", "type", "what it does", left=4)
    table.columns[0].no_wrap = True  # a key is typed as it stands
    selectors = {full: short for short, full in reversed(SELECTORS.items())}
    for key, name in chosen(cfg.sections).items():
        word = selectors[key]
        table.add_row(word, name, "text", f"which {word}; `hypermnesia list` shows all")
    entry = find_benchmark(benchmark)
    joining: dict[str, Any] = {name: kind() for name, kind in JOINING.items() if name not in cfg.sections}
    if isinstance(cfg.sections["method"], tuple(JOINING.values())):
        joining = {}
    stream = cfg.sections["stream"].over(entry.defaults)
    for key, info in config.keys({**cfg.sections, "stream": stream, **joining}).items():
        section, _, name = key.partition(".")
        if section == "stream" and name not in entry.takes:
            continue
        if section in joining:
            table.add_row(key, units.MISSING, info.type, f"{info.doc} (Said, it joins {approach}.)")
            continue
        shown = "must be given" if info.required else write_value(_plain(info.default))
        table.add_row(key, shown if len(shown) < LONG else f"{shown[: LONG - 2]} …", info.type, info.doc)
    return block(table, f"{approach} on {benchmark}")


def _plain(value: Any) -> Any:
    """A field's value as a word can write it."""
    return list(value) if isinstance(value, tuple) else value


def run_table(root: Path) -> Table:
    """Every run below `root`: what it is, how many of its seeds are finished, and how accurate it is in the end."""
    table = plain_table("run", "benchmark", "approach", "seeds", "accuracy in %", left=3)
    closed: list[OSError] = []
    found = {p.parent.parent for p in files_below(root, closed.append) if p.match("seed-*/config.toml")}
    for directory in sorted(found):
        if any(part.startswith(".") for part in directory.relative_to(root).parts):
            continue  # being made
        try:
            table.add_row(str(directory), *_run(directory))
        except Unusable as error:
            table.add_row(str(directory), str(error), "", "", "")
        except OSError as error:
            closed.append(error)
    for error in closed:
        table.add_row(str(error.filename), f"cannot be listed: {error.strerror}", "", "", "")
    if not table.row_count:
        raise HypermnesiaError(
            f"there are no runs below {root}; name the directory they lie in: list runs DIR"
        )
    return table


def _run(directory: Path) -> tuple[str, ...]:
    """Benchmark, approach, finished seeds of all, and mean accuracy by scenario."""
    seeds = seed_directories(directory)
    try:  # read as text: code that a configuration of somebody else names is not run by listing it
        about = tomllib.loads((seeds[0] / "config.toml").read_text(encoding="utf-8"))
        named = str(about["benchmark"]), str(about["approach"])
    except (OSError, ValueError, KeyError) as error:
        raise Unusable(f"{seeds[0]} is damaged: config.toml cannot be used ({error!r})") from error
    results = [found for seed in seeds if (found := read_result(seed))]
    asked = {seed.name for seed in seeds}
    asked |= {f"seed-{k}" for seed in seeds for k in environment_of(seed).get("seeds", ())}
    done = f"{len(results)} of {len(asked)}" if len(results) < len(asked) else str(len(asked))
    scenarios = summary_of(results)["scenarios"] if results else {}
    means = {name: (found or {}).get("average_accuracy", {}).get("mean") for name, found in scenarios.items()}
    of = beside(bool(results and results[0].get("target")))
    shown = ", ".join(
        f"{of}{name} {units.percent(mean, 1)}" for name, mean in means.items() if mean is not None
    )
    return *named, done, shown or units.MISSING


LISTS: dict[str, Callable[[], Table]] = {
    "benchmarks": _benchmarks,
    "approaches": _approaches,
    "nets": _nets,
    "generators": _generators,
    "inferences": lambda: _parts("inference", INFERENCES),
}
"""What `hypermnesia list` shows without further words."""


def listed(kind: str, words: Sequence[str], ledger: Path) -> Table | Group:
    """The table of `kind`: one of `LISTS`, `recipes`, `runs` with perhaps a directory in `words`, or `options` with an
    approach and perhaps a benchmark in them, and `key=value` words that change what there is."""
    if kind == "options":
        settings = [word for word in words if "=" in word]
        names = [word for word in words if "=" not in word]
        if not 1 <= len(names) <= 2:
            raise HypermnesiaError(
                "name an approach: hypermnesia list options APPROACH [BENCHMARK] [key=value …], such as list options hnet"
            )
        return option_table(names[0], names[1] if len(names) > 1 else "split-digits", settings)
    if kind == "runs" and len(words) < 2:
        return run_table(Path(words[0]) if words else Path("runs"))
    if words:
        raise HypermnesiaError(f"list {kind} takes nothing more, but got: {' '.join(words)}")
    if kind == "recipes":
        return recipe_table(ledger)
    if kind not in LISTS:
        raise unknown("list", kind, [*LISTS, "recipes", "options", "runs"])
    return LISTS[kind]()
