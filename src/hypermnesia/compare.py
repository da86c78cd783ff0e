"""Approaches against one another: the same streams and seeds for all, and nothing run twice."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypermnesia import config, experiment, report
from hypermnesia.approaches import APPROACHES, approach
from hypermnesia.checkpoint import CheckpointError
from hypermnesia.errors import HypermnesiaError, RunFailed
from hypermnesia.experiment import Config
from hypermnesia.report import tables
from hypermnesia.report.summary import Summary, summarise
from hypermnesia.runs import (
    Entry,
    Listen,
    Place,
    Unusable,
    default_directory,
    execute,
    execute_together,
    finished_result,
    silent,
)
from hypermnesia.runs import summarise as write_summary

CONDITIONS = ("stream", "net", "optimizer", "train", "evaluate", "seeds", "checkpoint")
"""Sections that say how anything is trained. Words about these reach the bounds too; words about how an approach
remembers do not."""


@dataclass(frozen=True)
class Candidate:
    """One configuration that takes part, and where its runs lie."""

    config: Config
    directory: Path
    """DIR; the runs are in DIR/seed-K."""


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    runs: report.Runs
    summary: Summary
    """Rows by average accuracy, each with its statistics and its paired difference to the best."""
    directories: tuple[Path, ...]
    """The directories of all candidates that have a finished run."""
    skipped: tuple[str, ...]
    """Why a run is missing: its directory cannot be used."""
    failed: tuple[str, ...]
    """Runs that began and could not go on."""

    def markdown(self) -> str:
        """The table as Markdown."""
        return tables.markdown(self.runs, [self.summary])


def compare(
    benchmark: str,
    approaches: Sequence[str],
    words: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    *,
    data_dir: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
    bounds: bool = True,
    listen: Listen = silent,
    stack: bool = False,
) -> Comparison:
    """Run every approach with every seed, but for what is finished already, and compare them.

    `words`: `key=value`; commas in values make variants. A key reaches the approaches that have it. `bounds`: whether
    the lower and the upper bound take part unasked. `out`: the runs lie in `out`/BENCHMARK/APPROACH-HASH (default
    `runs`). `stack`: train the seeds of a configuration as one program where that pays (`runs.execute_together`). A
    directory that cannot be used and a run that fails are told in the result, and the others go on.

    Raises `HypermnesiaError` for bad input, before anything is run, and when no run at all could be used.
    """
    chosen = candidates(benchmark, approaches, words, out or Path("runs"), bounds)
    skipped: dict[Path, str] = {}
    to_do = _to_do(chosen, seeds, skipped)
    for candidate, seed in to_do[:1] + [pair for pair in to_do[1:] if pair[1] == to_do[0][1]]:
        experiment.build(
            candidate.config, seed, data_dir, device
        )  # what is wrong is told before hours of training
    if stack:
        _execute_stacked(to_do, data_dir, device, listen)
        to_do = _to_do(chosen, seeds, skipped)
    failed = _execute(to_do, data_dir, device, listen, skipped)
    done = [
        (candidate.directory, directory)
        for candidate in chosen
        for seed in seeds
        if (directory := candidate.directory / f"seed-{seed}") not in skipped
        and (directory / "result.json").is_file()
    ]
    if not done:
        told = "; ".join([*skipped.values(), *failed])
        raise (RunFailed if failed else HypermnesiaError)(f"there is nothing to compare: {told}")
    directories = tuple(dict.fromkeys(directory for directory, _ in done))
    for directory in directories:
        _summary_of(directory, skipped)
    found = report.load([directory for _, directory in done])
    notes = (*skipped.values(), *(f"{note.path}: {note.reason}" for note in found.notes))
    return Comparison(found, summarise(found.benchmarks[0]), directories, notes, tuple(failed))


def candidates(
    benchmark: str, approaches: Sequence[str], words: Sequence[str], root: Path, bounds: bool = True
) -> list[Candidate]:
    """Every configuration that `words` make of the approaches, each once, and the bounds."""
    if not approaches:
        raise HypermnesiaError(
            "name at least one approach to compare; `hypermnesia list approaches` shows all"
        )
    names = list(dict.fromkeys(approach(name).name for name in approaches))
    combinations = config.variants(words)
    configs: list[Config] = []
    used: set[str] = set()
    for name in names:
        for combination in combinations:
            own = experiment.takes(benchmark, name, combination)
            used.update(config.parse_words(own))
            configs.append(experiment.resolve(benchmark, name, own))
    for key in config.parse_words(combinations[0]):
        if key not in used:
            raise HypermnesiaError(
                f"none of {', '.join(names)} has an option {key!r} on {benchmark}; "
                f"`hypermnesia list options {names[0]} {benchmark}` shows what there is"
            )
    for name in [a.name for a in APPROACHES.values() if bounds and a.bound and a.name not in names]:
        for combination in combinations:
            conditions = experiment.takes(benchmark, name, combination, only=CONDITIONS)
            configs.append(experiment.resolve(benchmark, name, conditions))
    unique = {cfg.sha256: cfg for cfg in reversed(configs)}
    return [Candidate(cfg, default_directory(cfg, root)) for cfg in reversed(unique.values())]


def _to_do(
    chosen: Sequence[Candidate], seeds: Sequence[int], skipped: dict[Path, str]
) -> list[tuple[Candidate, int]]:
    """What is not finished yet, seed by seed, so that what is there can be compared at any time."""
    found = []
    for seed in seeds:
        for candidate in chosen:
            directory = candidate.directory / f"seed-{seed}"
            try:
                finished = finished_result(candidate.config, seed, directory) is not None
            except Unusable as error:
                skipped[directory] = str(error)
                continue
            if not finished:
                found.append((candidate, seed))
    return found


def _execute_stacked(
    to_do: Sequence[tuple[Candidate, int]], data_dir: Path | None, device: str, listen: Listen
) -> None:
    """Run the seeds of each candidate as one program where that pays. One seed that fails ends those beside it: what is
    unfinished afterwards is left to run by itself."""
    configs = {candidate.directory: candidate.config for candidate, _ in to_do}
    for directory, cfg in configs.items():
        entries = [
            Entry(cfg, seed, Place(directory / f"seed-{seed}", data_dir, device))
            for candidate, seed in to_do
            if candidate.directory == directory
        ]
        try:
            execute_together(entries, listen)
        except (Unusable, CheckpointError, RunFailed) as error:
            told = f"hypermnesia: the seeds of {cfg.approach.name} go on one after another: {error}"
            print(told, file=sys.stderr)


def _execute(
    to_do: Sequence[tuple[Candidate, int]],
    data_dir: Path | None,
    device: str,
    listen: Listen,
    skipped: dict[Path, str],
) -> list[str]:
    """Run all; returns what failed."""
    failed = []
    for candidate, seed in to_do:
        place = Place(candidate.directory / f"seed-{seed}", data_dir, device)
        try:
            with listen(candidate.config, seed, place.directory) as listener:
                execute(candidate.config, seed, place, listener)
        except (Unusable, CheckpointError) as error:
            skipped[place.directory] = f"{place.directory}: {error}"
        except RunFailed as error:
            failed.append(f"{place.directory}: {error}")
    return failed


def _summary_of(directory: Path, skipped: dict[Path, str]) -> None:
    """summary.json over all seeds of a candidate; other seeds than the asked ones may be damaged."""
    try:
        write_summary(directory)
    except Unusable as error:
        skipped.setdefault(directory, f"{directory}: no summary.json: {error}")
