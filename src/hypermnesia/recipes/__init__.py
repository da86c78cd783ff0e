"""Published settings with their published figures, as data: one TOML file each, and `benchmarks.toml` for the rest."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from hypermnesia.errors import HypermnesiaError, unknown


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure as it was published."""

    metric: str
    """Dotted path into result.json, for example `scenarios.task.average_accuracy`."""
    value: float
    """In the unit of result.json: fractions in 0..1."""
    tolerance: float
    """Largest shortfall (published − measured mean) that still counts as reproduced."""
    std: float | None = None
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
    seeds: str = "0..2"
    """Seeds of a full run."""
    short: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of `--budget short`, on top."""
    search: Mapping[str, list] = field(default_factory=dict)
    """The published search grid."""
    notes: str = ""


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe of the package, by name."""
    found = {}
    for entry in sorted(files(__name__).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml") and entry.name != "benchmarks.toml":
            found[entry.name.removesuffix(".toml")] = _read(entry.name, entry.read_text(encoding="utf-8"))
    return found


def _read(file: str, text: str) -> Recipe:
    data = tomllib.loads(text)
    published = tuple(Published(**figure) for figure in data.pop("published", ()))
    for key in ("settings", "short", "search"):
        data[key] = flatten(data.get(key, {}))
    try:
        return Recipe(name=file.removesuffix(".toml"), published=published, **data)
    except TypeError as error:
        raise HypermnesiaError(f"recipes/{file}: {error}") from error


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


def defaults(benchmark: str, approach: str, memory_size: int | None) -> tuple[Recipe | None, str]:
    """The recipe whose settings `approach` uses on `benchmark`, and a note when its memory size is not the asked one.

    Where several belong to different memory sizes, the nearest (in ratio) is taken.
    """
    rows = [r for r in all_recipes().values() if r.default and (r.benchmark, r.approach) == (benchmark, approach)]
    if not rows:
        return None, ""
    sized = [r for r in rows if r.memory is not None]
    if not sized:
        return rows[0], ""
    asked = memory_size if memory_size is not None else min(r.memory for r in sized if r.memory)
    nearest = min(sized, key=lambda r: max(asked, r.memory or 1) / max(1, min(asked, r.memory or 1)))
    if nearest.memory == asked:
        return nearest, ""
    return nearest, f"no published settings for memory.size={asked}; using those for {nearest.memory} ({nearest.name})"
