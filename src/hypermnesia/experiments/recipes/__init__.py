"""Published settings with their published figures, as data: TOML files, and `benchmarks.toml` for the rest.

A file is one recipe, or a table of them: with `[[row]]` entries there is a recipe FILE-NAME for each row's `name`, and
what stands above the rows holds for all of them. `where` and `checked` above the figures hold for all figures.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from hypermnesia.core.dotted import flatten
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.files import expanded
from hypermnesia.data.sources.folder import holds_images
from hypermnesia.data.sources.registry import user_source


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure as it was published."""

    metric: str
    """Dotted path into result.json, for example `scenarios.task.average_accuracy`."""
    value: float
    """In the unit of result.json: fractions in 0..1."""
    tolerance: float
    """Largest difference between our mean and the published value, either way, that still counts as reproduced."""
    std: float | None = None
    short: float | None = None
    """What `--budget short` should give, as we found it; none: the figure says nothing about a short run."""
    where: str = ""
    """Table or page."""
    checked: bool = False
    """Whether the figure was read in the source itself, not quoted from elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete setting and what it should give."""

    name: str
    benchmark: str
    approach: str
    source: str
    settings: Mapping[str, Any]
    """Dotted settings."""
    published: tuple[Published, ...] = ()
    default: bool = False
    """Whether these settings are what the approach uses on this benchmark when nothing is said."""
    memory: int | None = None
    """The memory size that the settings belong to, where it matters."""
    tasks: int | None = None
    """The number of tasks that the settings belong to, where it matters."""
    net: str | None = None
    """The network that the settings belong to, where it is not the one that the approach takes there by itself."""
    seeds: str = "0..2"
    """Seeds of a full run."""
    short: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of `--budget short`, on top."""
    search: Mapping[str, list] = field(default_factory=dict)
    """The published search grid."""
    notes: str = ""


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe of the package, by name."""
    found = {}
    for entry in sorted(files(__name__).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml") and entry.name != "benchmarks.toml":
            found |= read(entry.name.removesuffix(".toml"), entry.read_text(encoding="utf-8"))
    return found


def read(name: str, text: str) -> dict[str, Recipe]:
    """The recipes of a TOML text, by name: `name` itself, or `name`-ROW for each of its rows."""
    common = tomllib.loads(text)
    rows = common.pop("row", None)
    try:
        found = [_recipe(name, common, {})] if rows is None else [_recipe(name, common, row) for row in rows]
    except (TypeError, KeyError) as error:
        raise HypermnesiaError(f"recipes/{name}.toml: {error}") from error
    return {recipe.name: recipe for recipe in found}


def _recipe(file: str, common: Mapping[str, Any], row: Mapping[str, Any]) -> Recipe:
    """The recipe of a row, or of the whole file; a memory size is a setting too."""
    data: dict[str, Any] = {**common, **row}
    name = f"{file}-{row['name']}" if row else file
    data.pop("name", None)
    for key in ("settings", "short", "search"):
        data[key] = flatten(common.get(key, {})) | flatten(row.get(key, {}))
    if "memory" in data:
        data["settings"].setdefault("memory.size", data["memory"])
    origin = {key: data.pop(key) for key in ("where", "checked") if key in data}
    published = tuple(Published(**(origin | figure)) for figure in data.pop("published", ()))
    return Recipe(name=name, published=published, **data)


def recipe(name: str) -> Recipe:
    """The recipe called `name`; an error that suggests the nearest name otherwise."""
    if name not in all_recipes():
        raise unknown("recipe", name, all_recipes())
    return all_recipes()[name]


@cache
def base_settings() -> dict[str, dict[str, Any]]:
    """Benchmark → settings that every approach starts from there."""
    text = files(__name__).joinpath("benchmarks.toml").read_text(encoding="utf-8")
    return {name: flatten(settings) for name, settings in tomllib.loads(text).items()}


def base_of(benchmark: str) -> tuple[dict[str, Any], str]:
    """The settings that every approach starts from on `benchmark`, and the note that goes with those of a folder of images."""
    known, own = base_settings(), user_source(benchmark)
    if own is None or own.kind not in ("folder", "folders") or not holds_images(expanded(own.where)):
        return known.get(benchmark, known["default"]), ""
    net = known["images"]["net.name"]
    return known[
        "images"
    ], f"the folder holds images: net={net} is convolutional; stream.size=32 makes large images small"


def for_hyper(base: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a benchmark that hold for every approach, and those for approaches on weights=hyper alone."""
    own = {key: value for key, value in base.items() if key.startswith("hyper.")}
    rest = {key: value for key, value in base.items() if key not in own}
    return rest, {key.removeprefix("hyper."): value for key, value in own.items()}


ASKED_BY = {"tasks": "stream.tasks", "memory": "memory.size"}
"""What a recipe may belong to, and the words that ask for it."""


def defaults(
    benchmark: str,
    approach: str,
    memory_size: int | None = None,
    tasks: int | None = None,
    net: str | None = None,
) -> tuple[Recipe | None, str]:
    """The recipe whose settings `approach` uses on `benchmark`, and a note when there is none for it, though others
    have theirs there, or none for the asked memory size, number of tasks or network.

    Where several belong to different sizes or numbers, the nearest (in ratio) is taken; of several networks the asked
    one, or else that which the approach takes there by itself.
    """
    rows = [r for r in all_recipes().values() if r.default and r.benchmark == benchmark]
    others, rows = bool(rows), [r for r in rows if r.approach == approach]
    if not rows:
        none = (
            f"no published settings for {approach} on {benchmark}: its own defaults hold, and the benchmark's"
        )
        return None, none if others else ""
    rows = [r for r in rows if net is not None and r.net == net] or [r for r in rows if r.net is None]
    missing = []
    for key, asked in (("tasks", tasks), ("memory", memory_size)):
        rows, known = _nearest(rows, key, asked)
        if not known:
            missing.append((f"{ASKED_BY[key]}={asked}", key))
    found = rows[0]
    notes = [
        f"no published settings for {said}; using those for {getattr(found, key)} ({found.name})"
        for said, key in missing
    ]
    own = found.settings.get("net.name")
    if net is not None and own is not None and net != own:
        also = [r.name for r in all_recipes().values() if (r.benchmark, r.approach) == (benchmark, approach)]
        also = [name for name in also if all_recipes()[name].settings.get("net.name") == net]
        there = f"; recipes with {net}: {', '.join(also)}" if also else ""
        notes.append(f"no published settings for net={net}; using those for {own} ({found.name}){there}")
    return found, "; ".join(notes)


def _nearest(rows: list[Recipe], key: str, asked: int | None) -> tuple[list[Recipe], bool]:
    """Those of the rows whose `key` (memory, tasks) is nearest to `asked` in ratio, by default the smallest; and whether
    that is what was asked for."""
    sizes: list[int] = [size for r in rows if (size := getattr(r, key)) is not None]
    if not sizes:
        return rows, True
    wanted = min(sizes) if asked is None else asked
    nearest = min(sizes, key=lambda size: max(wanted, size) / max(1, min(wanted, size)))
    return [r for r in rows if getattr(r, key) == nearest], nearest == wanted
