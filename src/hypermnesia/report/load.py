"""Run directories found, read and grouped, under short names that tell variants of one approach apart."""

import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.secrets import flatten, redact
from hypermnesia.evaluation.schema import (
    Damaged,
    Result,
    Sweep,
    read_object,
    read_record,
    read_text,
    seeds_in,
)

SCENARIOS = ("class", "domain", "task")
"""Known scenarios, the hardest first: `class` and `domain` do not give the task away."""


@dataclass(frozen=True)
class Note:
    """Something that was not read: `path` relative to the directory that was asked for, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Seed:
    """One finished run: its result, and the files beside it as far as they could be read."""

    directory: Path
    path: str  # relative to the directory that was asked for
    result: Result
    config: str | None = None  # text of config.toml
    settings: dict[str, str] = field(default_factory=dict)  # config.toml as dotted key -> value
    environment: dict[str, str] = field(default_factory=dict)  # environment.json as dotted key -> value


@dataclass(frozen=True)
class Group:
    """The seeds of one approach and configuration, ascending; `label` is unique in its benchmark."""

    label: str
    seeds: tuple[Seed, ...]

    @property
    def first(self) -> Seed:
        return self.seeds[0]

    @property
    def approach(self) -> str:
        return self.first.result.approach


@dataclass(frozen=True)
class Benchmark:
    """Everything that was run on one stream; groups in order of their labels."""

    name: str
    groups: tuple[Group, ...]

    @property
    def numbers(self) -> bool:
        """Whether numbers are learned, so that accuracies are R²."""
        return any(seed.result.target is not None for group in self.groups for seed in group.seeds)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios that any seed has numbers for: known ones first, hardest first."""
        found = {name for group in self.groups for seed in group.seeds for name in seed.result.scenarios}
        return (*(name for name in SCENARIOS if name in found), *sorted(found - set(SCENARIOS)))


@dataclass(frozen=True)
class SweepRecord:
    path: str
    sweep: Sweep


@dataclass(frozen=True)
class Runs:
    """All that was found below the directories: benchmarks by name, sweeps, and notes on what was skipped."""

    benchmarks: tuple[Benchmark, ...]
    sweeps: tuple[SweepRecord, ...]
    notes: tuple[Note, ...]


def load(directories: Sequence[Path]) -> Runs:
    """Read every run and sweep in or below `directories`.

    A directory may be one seed's (it holds result.json), one run's (it holds seed-K directories), a sweep's
    (it holds sweep.json) or any parent of such. Symbolic links below it are not followed. Damage becomes a
    note; raises `HypermnesiaError` for a directory that does not exist or when nothing usable was found.
    """
    seeds: list[Seed] = []
    sweeps: list[SweepRecord] = []
    notes: list[Note] = []
    seen: set[tuple[Path, str]] = set()
    for root in directories:
        if not root.is_dir():
            raise HypermnesiaError(
                f"no such directory: {str(root)!r}; report reads run directories or their parents"
            )
        for kind, directory in _search(root, notes):
            if (directory.resolve(), kind) in seen:
                continue  # asked for twice, or inside another directory that was asked for
            seen.add((directory.resolve(), kind))
            path = _relative(directory, root)
            try:
                if kind == "sweep":
                    sweeps.append(SweepRecord(path, read_record(directory / "sweep.json", Sweep)))
                elif (seed := _seed(directory, path, notes)) is not None:
                    seeds.append(seed)
                elif kind == "seed":
                    notes.append(Note(path, "evaluated on validation parts only, as trials of a search are"))
            except Damaged as damage:
                notes.append(Note(path, str(damage)))
    if not seeds and not sweeps:
        raise HypermnesiaError(_nothing(directories, notes))
    return Runs(_benchmarks(seeds, notes), tuple(sweeps), tuple(notes))


def _nothing(directories: Sequence[Path], notes: Sequence[Note]) -> str:
    asked = ", ".join(repr(str(directory)) for directory in directories) or "no directory"
    found = "".join(f"\n  {note.path}: {note.reason}" for note in notes[:20])
    skipped = f"; {len(notes)} skipped:{found}" if notes else ""
    expected = "expected result.json or sweep.json in it or below it"
    return f"report found no usable run in {asked}: {expected}{skipped}"


def _relative(directory: Path, root: Path) -> str:
    relative = directory.relative_to(root)
    return str(relative) if relative.parts else root.resolve().name


def _search(root: Path, notes: list[Note]) -> Iterator[tuple[str, Path]]:
    """Pairs of what a directory is ("seed", "sweep", "trial" of a sweep) and the directory, by name."""

    def unreadable(error: OSError) -> None:
        notes.append(Note(_relative(Path(error.filename), root), f"cannot be listed: {error.strerror}"))

    swept: list[Path] = []
    for name, children, files in os.walk(root, onerror=unreadable):
        children.sort()
        directory = Path(name)
        children[:] = [child for child in children if child != "checkpoint" and not child.startswith(".")]
        if "sweep.json" in files:
            swept.append(directory)
            yield "sweep", directory
        inside_a_sweep = any(directory.is_relative_to(sweep) for sweep in swept)  # it tells of pruned trials
        if seeds_in(directory):
            continue  # a run: its own result.json is a copy of its only seed's
        if "result.json" in files:
            children.clear()
            yield "trial" if inside_a_sweep else "seed", directory
        elif ("config.toml" in files or "events.jsonl" in files) and not inside_a_sweep:
            notes.append(Note(_relative(directory, root), "no result.json: the run has not finished"))


def _seed(directory: Path, path: str, notes: list[Note]) -> Seed | None:
    """One run, or None for a trial of a sweep, which has no test figures by design."""
    result = read_record(directory / "result.json", Result)
    if not result.scenarios:
        if result.validation is not None:
            return None
        raise Damaged("result.json: scenarios: no accuracy in any scenario")
    seed = Seed(directory, path, result)
    try:
        text = read_text(directory / "config.toml")
        seed = replace(seed, config=redact(text), settings=flatten(tomllib.loads(text)))
    except (Damaged, tomllib.TOMLDecodeError, RecursionError) as error:
        notes.append(Note(path, f"its configuration is left out: {_reason(error, 'config.toml')}"))
    try:
        seed = replace(seed, environment=flatten(read_object(directory / "environment.json")))
    except (Damaged, RecursionError) as error:
        notes.append(Note(path, f"its environment is left out: {_reason(error, 'environment.json')}"))
    return seed


def _reason(error: Exception, name: str) -> str:
    return str(error) if isinstance(error, Damaged) else f"{name}: {error}"


def _benchmarks(seeds: Iterable[Seed], notes: list[Note]) -> tuple[Benchmark, ...]:
    ordered = sorted(seeds, key=lambda seed: (*_identity(seed), seed.result.seed, seed.path))
    groups = [_group(list(members), notes) for _, members in groupby(ordered, key=_identity)]
    benchmarks = []
    for name, found in groupby(groups, key=lambda group: group.first.result.benchmark):
        members = list(found)
        named = labels([group.approach for group in members], [group.first.settings for group in members])
        renamed = [replace(group, label=label) for group, label in zip(members, named, strict=True)]
        benchmarks.append(Benchmark(name, tuple(sorted(renamed, key=lambda group: group.label))))
    return tuple(benchmarks)


def _identity(seed: Seed) -> tuple[str, str, str]:
    """What seeds of one group share."""
    return seed.result.benchmark, seed.result.approach, seed.result.config_sha256


def _group(members: list[Seed], notes: list[Note]) -> Group:
    """The seeds that can be averaged: each number once, all matrices of one shape."""
    kept: dict[int, Seed] = {}
    for seed in members:
        number = seed.result.seed
        if number in kept:
            notes.append(
                Note(seed.path, f"seed {number} of this configuration is read from {kept[number].path}")
            )
        elif kept and _shapes(seed) != _shapes(first := next(iter(kept.values()))):
            notes.append(Note(seed.path, f"its matrices have other shapes than those of {first.path}"))
        else:
            kept[number] = seed
    return Group(members[0].result.approach, tuple(kept.values()))


def _shapes(seed: Seed) -> dict[str, tuple[int, int]]:
    return {
        name: (len(scenario.matrix), len(scenario.matrix[0]) if scenario.matrix else 0)
        for name, scenario in seed.result.scenarios.items()
    }


_NOT_A_SETTING = re.compile(r"(^|\.)(seeds?|out|device|data_dir|track|resume)(\.|$)|seed$")
_LONGEST_VALUE = 24
_MOST_KEYS = 3
_CHOICES = {
    "weights.kind": "weights",
    "net.name": "net",
    "weights.generator.name": "generator",
    "infer.name": "infer",
}
"""Settings that bring others with them, and what they are called on the command line."""


def labels(approaches: Sequence[str], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """One distinct label for each group of a benchmark.

    An approach that occurs once keeps its name. Variants add the settings in which they differ, "phn
    (cut=layer1)", or the one choice that brought the rest, "er (weights=mask)"; when that does not tell them apart (no
    configuration was read, or too many keys) they are
    numbered.
    """
    times = Counter(approaches)
    named = []
    for approach, own in zip(approaches, settings, strict=True):
        family = [other for name, other in zip(approaches, settings, strict=True) if name == approach]
        varied = _varied(family) if times[approach] > 1 else []
        choice = next((key for key in _CHOICES if key in varied and _tells_apart(key, family)), None)
        varied = [choice] if choice else varied
        shown = [f"{_short(key, varied)}={_clip(own.get(key, 'absent'))}" for key in varied[:_MOST_KEYS]]
        shown += ["…"] if len(varied) > _MOST_KEYS else []
        named.append(f"{approach} ({', '.join(shown)})" if shown else approach)
    repeated, number = Counter(named), Counter[str]()
    for position, label in enumerate(named):
        if repeated[label] > 1:
            number[label] += 1
            named[position] = f"{label} #{number[label]}"
    return named


def _varied(family: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for own in family for key in own if not _NOT_A_SETTING.search(key))
    return [key for key in keys if len({own.get(key) for own in family}) > 1]


def _tells_apart(key: str, family: Sequence[Mapping[str, str]]) -> bool:
    return len({own.get(key) for own in family}) == len(family)


def _short(key: str, varied: Sequence[str]) -> str:
    if key in _CHOICES:
        return _CHOICES[key]
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in varied) == 1 else key


def _clip(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 1] + "…"
