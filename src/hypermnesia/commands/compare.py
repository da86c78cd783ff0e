"""Approaches against one another: the same streams and seeds for all, and nothing run twice."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypermnesia import report
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.experiments import config
from hypermnesia.experiments.approaches import APPROACHES, approach
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import Config, resolve, takes
from hypermnesia.report import tables
from hypermnesia.report.summary import Summary, summarise
from hypermnesia.runs.directory import Entry, Place, Unusable, default_directory, finished_result, read_result
from hypermnesia.runs.execute import Listen, execute, execute_together, silent
from hypermnesia.runs.execute import summarise as write_summary
from hypermnesia.training.checkpoint import CheckpointError

CONDITIONS = ("stream", "net", "optimizer", "train", "evaluate", "seeds", "checkpoint")
"""Sections that say how anything is trained. Words about these reach the bounds too; words about how an approach
remembers do not."""


@dataclass(frozen=True)
class Contender:
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
    notes: tuple[str, ...] = ()
    """What should be known of the settings that were compared."""

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
    for contender, seed in to_do[:1] + [pair for pair in to_do[1:] if pair[1] == to_do[0][1]]:
        build(contender.config, seed, data_dir, device)  # what is wrong is told before hours of training
    if stack:
        _execute_stacked(to_do, data_dir, device, listen)
        to_do = _to_do(chosen, seeds, skipped)
    failed = _execute(to_do, data_dir, device, listen, skipped)
    done = [
        (contender.directory, directory)
        for contender in chosen
        for seed in seeds
        if (directory := contender.directory / f"seed-{seed}") not in skipped
        and (directory / "result.json").is_file()
    ]
    if not done:
        told = "; ".join([*skipped.values(), *failed])
        raise (RunFailed if failed else HypermnesiaError)(f"there is nothing to compare: {told}")
    directories = tuple(dict.fromkeys(directory for directory, _ in done))
    for directory in directories:
        _summary_of(directory, skipped)
    found = report.load([directory for _, directory in done])
    passed_over = (*skipped.values(), *(f"{note.path}: {note.reason}" for note in found.notes))
    told = (*(note for c in chosen for note in c.config.notes), *_unequal(chosen, done))
    notes = tuple(dict.fromkeys(told))
    return Comparison(found, summarise(found.benchmarks[0]), directories, passed_over, tuple(failed), notes)


def _unequal(chosen: Sequence[Contender], done: Sequence[tuple[Path, Path]]) -> list[str]:
    """A word for each joint training that saw fewer samples than a rival: a bound should not be short of training."""
    samples = {}
    for contender in chosen:
        of_it = [directory for owner, directory in done if owner == contender.directory]
        steps = ((read_result(of_it[0]) or {}).get("costs") or {}).get("steps") if of_it else None
        if steps is not None:
            samples[contender.directory] = steps * contender.config.sections["train"].batch_size
    names = {contender.directory: contender.config.approach for contender in chosen}
    told = []
    for directory, own in samples.items():
        most = max(samples, key=lambda other: samples[other])
        # Its last batches hold what is left, where its rivals have such batches in every task.
        if names[directory].joined and own < 0.99 * samples[most]:
            told.append(
                f"joint saw {own:,} samples, {names[most].name} {samples[most]:,}: it may be no upper bound; "
                "say train.iterations or train.epochs, which then hold for all"
            )
    return told


def candidates(
    benchmark: str, approaches: Sequence[str], words: Sequence[str], root: Path, bounds: bool = True
) -> list[Contender]:
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
            own = takes(benchmark, name, combination)
            used.update(config.parse_words(own))
            configs.append(resolve(benchmark, name, own))
    for key in config.parse_words(combinations[0]):
        if key not in used:
            raise HypermnesiaError(
                f"none of {', '.join(names)} has an option {key!r} on {benchmark}; "
                f"`hypermnesia list options {names[0]} {benchmark}` shows what there is"
            )
    for name in [a.name for a in APPROACHES.values() if bounds and a.bound and a.name not in names]:
        for combination in combinations:
            conditions = takes(benchmark, name, combination, only=CONDITIONS)
            configs.append(resolve(benchmark, name, conditions))
    unique = {cfg.sha256: cfg for cfg in reversed(configs)}
    return [Contender(cfg, default_directory(cfg, root)) for cfg in reversed(unique.values())]


def _to_do(
    chosen: Sequence[Contender], seeds: Sequence[int], skipped: dict[Path, str]
) -> list[tuple[Contender, int]]:
    """What is not finished yet, seed by seed, so that what is there can be compared at any time."""
    found = []
    for seed in seeds:
        for contender in chosen:
            directory = contender.directory / f"seed-{seed}"
            try:
                finished = finished_result(contender.config, seed, directory) is not None
            except Unusable as error:
                skipped[directory] = str(error)
                continue
            if not finished:
                found.append((contender, seed))
    return found


def _execute_stacked(
    to_do: Sequence[tuple[Contender, int]], data_dir: Path | None, device: str, listen: Listen
) -> None:
    """Run the seeds of each contender as one program where that pays. One seed that fails ends those beside it: what is
    unfinished afterwards is left to run by itself."""
    configs = {contender.directory: contender.config for contender, _ in to_do}
    for directory, cfg in configs.items():
        entries = [
            Entry(cfg, seed, Place(directory / f"seed-{seed}", data_dir, device))
            for contender, seed in to_do
            if contender.directory == directory
        ]
        try:
            execute_together(entries, listen)
        except (Unusable, CheckpointError, RunFailed) as error:
            told = f"hypermnesia: the seeds of {cfg.approach.name} go on one after another: {error}"
            print(told, file=sys.stderr)


def _execute(
    to_do: Sequence[tuple[Contender, int]],
    data_dir: Path | None,
    device: str,
    listen: Listen,
    skipped: dict[Path, str],
) -> list[str]:
    """Run all; returns what failed."""
    failed = []
    for contender, seed in to_do:
        place = Place(contender.directory / f"seed-{seed}", data_dir, device)
        try:
            with listen(contender.config, seed, place.directory) as listener:
                execute(contender.config, seed, place, listener)
        except (Unusable, CheckpointError) as error:
            skipped[place.directory] = f"{place.directory}: {error}"
        except RunFailed as error:
            failed.append(f"{place.directory}: {error}")
    return failed


def _summary_of(directory: Path, skipped: dict[Path, str]) -> None:
    """summary.json over all seeds of a contender; other seeds than the asked ones may be damaged."""
    try:
        write_summary(directory)
    except Unusable as error:
        skipped.setdefault(directory, f"{directory}: no summary.json: {error}")
