"""Run directories: how a run gets one, is found again, resumed, and read back as a learner."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from hypermnesia.core import trees
from hypermnesia.core.checks import check_seed
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.files import clear_abandoned
from hypermnesia.core.locks import forget
from hypermnesia.core.locks import locked as held
from hypermnesia.core.waiting import busy
from hypermnesia.evaluation.schema import Result, Summary, seeds_in, write_record
from hypermnesia.experiments.build import assemble, build, without_base
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs import bound, continuation, stacks
from hypermnesia.runs.continuation import Continuation
from hypermnesia.runs.directory import (
    Entry,
    Place,
    Unusable,
    _check_same,
    _check_stream,
    create,
    environment_of,
    exists,
    finished_result,
    locked,
    read_result,
    reporter,
    saved_config,
    saved_stream,
    seed_directories,
)
from hypermnesia.runs.recorder import Interrupted, Listener, asked_to_stop, recording
from hypermnesia.runs.results import summary_of
from hypermnesia.runs.stacks import Listen, OneFailed, silent
from hypermnesia.training import checkpoint, guards
from hypermnesia.training.loop import Fit
from hypermnesia.training.position import Abandoned
from hypermnesia.training.stackable import pays, why_apart

Stacked = Literal["auto", "on", "off"]
PATIENCE = 60.0
"""Seconds that a summary waits for another process's."""
# ------------------------------------------------------------------------------------------------------ executing


def execute_seeds(
    cfg: Config,
    seeds: Sequence[int],
    directory: Path,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    listen: Listen = silent,
    stacked: Stacked = "off",
) -> dict[str, Any]:
    """Run `cfg` with every seed in `directory`/seed-K and return the summary over all finished seeds there.

    `stacked`: whether all seeds train as one program (see `training.stacked`), whose results differ from theirs by rounding;
    auto does it where it can be done and is likely to pay. Raises `Unusable` before anything is run when `directory`
    holds seeds of another configuration, and `HypermnesiaError` for what is no seed.
    """
    seeds = [check_seed(seed) for seed in seeds]
    for other in seeds_in(directory):
        try:
            there = saved_config(other, cfg)
        except Unusable:
            continue  # told when it is its turn
        _check_same(there, cfg, other)
    place = Place(directory, data_dir, device, seeds=tuple(seeds))
    entries = [_sibling(Entry(cfg, seed, place), seed, directory) for seed in seeds]
    with _finishing(directory, seeds):
        if stacked == "off" or not execute_together(entries, listen, stacked):
            for entry in entries:
                _execute(entry, listen)
    return summarise(directory)


def _execute(entry: Entry, listen: Listen) -> dict[str, Any]:
    with listen(entry.cfg, entry.seed, entry.place.directory) as listener:
        return execute(entry.cfg, entry.seed, entry.place, listener)


def _sibling(entry: Entry, seed: int, root: Path) -> Entry:
    """The same with another seed, in `root`."""
    return replace(entry, seed=seed, place=replace(entry.place, directory=root / f"seed-{seed}"))


@contextlib.contextmanager
def _finishing(directory: Path, seeds: Sequence[int]) -> Iterator[None]:
    """Where one of several seeds is interrupted, tell how to finish all of them."""
    try:
        yield
    except Interrupted as error:
        left = [seed for seed in seeds if read_result(directory / f"seed-{seed}") is None]
        if len(seeds) < 2 or not left:
            raise
        known = {_seed_of(begun) for begun in seeds_in(directory)} | {e.seed for e in _not_begun(directory)}
        how = f"hypermnesia resume {directory}" if known >= set(left) else "the same command"
        named = f"seed{'s' if len(left) > 1 else ''} {', '.join(map(str, left))}"
        raise Interrupted(error.number, how=f"{how}, which finishes {named}") from error


def _seed_of(directory: Path) -> int:
    return int(directory.name.removeprefix("seed-"))


def _not_begun(root: Path) -> list[Entry]:
    """The seeds that commands were to run in `root` and did not come to."""
    begun = seed_directories(root)
    there, found = {_seed_of(directory) for directory in begun}, {}
    for directory in begun:
        for seed in environment_of(directory).get("seeds", ()):
            if seed not in there and seed not in found:
                found[seed] = _sibling(_as_begun(directory, None, None), seed, root)
    return list(found.values())


def execute_together(entries: Sequence[Entry], listen: Listen = silent, stacked: Stacked = "auto") -> bool:
    """Run all that is not finished as one program; False, with a word why, where they had better run apart.

    The entries are seeds of one configuration, or differ in numbers (`stack`). What has been begun goes on as it was begun:
    by itself, or with those that it trained together with. Raises as `execute`, and `HypermnesiaError` where `stacked` is
    on and they have to run apart. When one fails, all stop.
    """
    left = [e for e in entries if finished_result(e.cfg, e.seed, e.place.directory) is None]
    known = {e.place.directory: e for e in left}
    for e in (e for e in left if exists(e.place.directory)):
        if finished_result(e.cfg, e.seed, e.place.directory) is None and not _with_others(e, known, listen):
            _execute(e, listen)
    left = [e for e in left if not exists(e.place.directory)]
    if not left:
        return True
    with guards.told("these runs together"):
        built = [run_of(e.cfg, e.seed, e.place) for e in left]
    reason = _why_unlike(left, built) or why_apart(built)
    if not reason and stacked == "auto" and not pays(built):
        reason = "a network of this size is bound by arithmetic, which stacking does not spare"
    alike = len({e.cfg.sha256 for e in left}) == 1
    these = f"the {'seeds' if alike else 'runs'} of {left[0].cfg.approach.name}"
    if reason and stacked == "on" and len(left) > 1:
        raise HypermnesiaError(f"--stack on: {these} cannot be stacked: {reason}")
    if reason:
        if len(left) > 1:
            print(f"hypermnesia: {these} run one after another: {reason}", file=sys.stderr)
        return False
    beside = sorted(e.seed for e in left) if alike else [str(e.place.directory) for e in left]
    directories = [e.place.directory for e in left]
    for e, run in zip(left, built, strict=True):
        about = {"stacked_with": beside, stacks.KEY: stacks.names_of(e.place.directory, directories)}
        create(e.cfg, e.seed, e.place, run, about)
    _train_together(left, built, listen, "")
    return True


def _with_others(entry: Entry, known: Mapping[Path, Entry], listen: Listen) -> bool:
    """Go on with a run that has been begun and with those that train together with it; False if it goes on by itself."""
    directory = entry.place.directory
    found = stacks.begun_with(directory, reporter(directory))
    if found is None:
        return False
    entries = [known.get(other) or _beside(entry, other) for other in found.directories]
    built = [_built_together(e) for e in entries]
    about = environment_of(directory)
    for e, run in zip(entries, built, strict=True):
        if exists(e.place.directory):
            _check_stream(run, e.place.directory)
        else:  # the first of them had been made when the start was cut short
            create(e.cfg, e.seed, e.place, run, {key: about[key] for key in ("stacked_with", stacks.KEY)})
    _train_together(entries, built, listen, found.newest)
    return True


def _beside(entry: Entry, directory: Path) -> Entry:
    """The run in another directory that trains together with this one."""
    place = replace(entry.place, directory=directory)
    if exists(directory):
        return Entry(saved_config(directory, entry.cfg), environment_of(directory)["seed"], place)
    if isinstance(environment_of(entry.place.directory)["stacked_with"][0], int):
        return Entry(entry.cfg, int(directory.name.removeprefix("seed-")), place)
    raise Unusable(f"{entry.place.directory} begins as one program with {directory}, which is not there")


def _built_together(entry: Entry) -> Fit:
    with guards.told("these runs together"):
        return run_of(entry.cfg, entry.seed, entry.place)


def _train_together(entries: Sequence[Entry], built: Sequence[Fit], listen: Listen, newest: str) -> None:
    """Train the runs from the checkpoint that all have. When one fails, the others are saved at the step of that, so that
    they can go on without it, and `OneFailed` is raised."""
    try:
        stacks.train(entries, built, listen, newest)
    except RunFailed as error:
        lost = next((i for i, run in enumerate(built) if run is error.of), None)
        if lost is None:
            raise
        directory, steps = entries[lost].place.directory, built[lost].records.steps
        found = stacks.begun_with(directory, reporter(directory))
        failed = {lost, *(i for i, run in enumerate(built) if any(run is other for other in error.among))}
        if found is not None and len(found.directories) == len(entries):
            _leave(entries, found.newest, set(failed), steps)
        raise OneFailed(error, entries[lost], [entries[i] for i in failed - {lost}]) from error


def _leave(entries: Sequence[Entry], newest: str, without: set[int], after: int) -> None:
    """Save all that can go on after the step at which the runs `without` failed, and leave those out that cannot be saved."""
    while True:
        again = [_built_together(e) for e in entries]
        try:
            stacks.train(entries, again, silent, newest, without=frozenset(without), after=after)
        except stacks.LeftBehind:
            return
        except RunFailed as error:
            also = {i for i, run in enumerate(again) if run is error.of} - without
            if not also:
                return  # they fail before they get there
            without |= also
        else:
            return


def _why_unlike(entries: Sequence[Entry], built: Sequence[Fit]) -> str:
    """Why runs of different configurations are no one program; empty if they are, as far as configurations tell.

    They may differ in numbers that end up in the method or as learning rates, where `stack` looks for them, and nowhere
    else, such as in a mask's sparsity.
    """
    if len({e.cfg.sha256 for e in entries}) == 1:
        return ""
    chosen = trees.numbers(
        [{"": [e.cfg.benchmark, e.cfg.approach.name], "sections": dict(e.cfg.sections)} for e in entries]
    )
    read = trees.numbers([(run.method, run.optimizer_options) for run in built])
    if chosen is None or read is None or len(chosen) != len(read):
        return "their settings differ in more than numbers of the loss and learning rates"
    return ""


def execute(cfg: Config, seed: int, place: Place, listener: Listener | None = None) -> dict[str, Any]:
    """Run `cfg` with `seed` in its directory and return its result; finished runs are recognised, others resumed.

    Raises `Unusable` when the directory holds another run or is in use, `RunFailed` when training fails, `Interrupted`
    after a signal, and `HypermnesiaError` for bad input, before anything is written.
    """
    finished = finished_result(cfg, seed, place.directory)
    if finished is not None:
        return finished
    if exists(place.directory) and _in_a_stack(Entry(cfg, seed, place), listener):
        return read_result(place.directory) or {}
    with guards.told("this configuration"), busy("making the run"):
        run = run_of(cfg, seed, place)
    if exists(place.directory):
        _check_stream(run, place.directory)
    else:
        create(cfg, seed, place, run)
    with locked(place.directory):
        finished = finished_result(cfg, seed, place.directory)  # by another process, since we looked
        return finished if finished is not None else _train(run, cfg, seed, place.directory, listener)


def _in_a_stack(entry: Entry, listener: Listener | None) -> bool:
    """Go on with a run and all that train together with it, leaving behind those that fail; False if it is by itself."""
    directory = entry.place.directory

    @contextlib.contextmanager
    def listen(cfg: Config, seed: int, where: Path) -> Iterator[Listener]:
        yield listener if where == directory and listener is not None else lambda event: None

    while True:
        try:
            return _with_others(entry, {directory: entry}, listen)
        except OneFailed as error:
            if error.entry.place.directory == directory:
                raise
            reporter(directory)(f"goes on without {error.entry.place.directory}, which failed: {error}")


def run_of(cfg: Config, seed: int, place: Place) -> Fit:
    """The run at its beginning; where the directory is of one that goes on with further data, over these too."""
    if exists(place.directory):
        about = environment_of(place.directory).get("continues")
        if about is not None:
            goes_on, saved = Continuation.from_json(about), saved_stream(place.directory)
            return continuation.build(cfg, seed, saved, goes_on, place.data_dir, place.device)
    return build(cfg, seed, place.data_dir, place.device, place.sealed)


def resume(
    directory: Path, data_dir: Path | None = None, device: str | None = None, listen: Listen = silent
) -> dict[str, Any]:
    """Go on with the run in `directory` (DIR/seed-K) from its own saved configuration and return its result.

    `data_dir` and `device`: as the run began, unless given.
    """
    return _execute(_as_begun(directory, data_dir, device), listen)


def _as_begun(directory: Path, data_dir: Path | None, device: str | None) -> Entry:
    """The run in `directory` from what it says of itself."""
    cfg, saved = saved_config(directory), environment_of(directory)
    if data_dir is None and saved.get("data_dir"):
        data_dir = Path(saved["data_dir"])
    device = device or str(saved.get("device", "cpu"))
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise HypermnesiaError(f"{directory} was begun on {device}, which torch does not see here")
    place = Place(directory, data_dir, device, saved.get("sealed") is True, tuple(saved.get("seeds", ())))
    return Entry(cfg, saved["seed"], place)


def resume_seeds(
    directory: Path, data_dir: Path | None = None, device: str | None = None, listen: Listen = silent
) -> dict[str, Any]:
    """Finish the runs in `directory` (DIR), those that were begun and those that a command did not come to.

    Returns the summary over all of them. Of DIR/seed-K only this seed is finished. Otherwise as `resume`.
    """
    begun = seed_directories(directory)
    if begun == [directory]:
        resume(directory, data_dir, device, listen)
        return summarise(directory.parent if directory.name.startswith("seed-") else directory)
    further = _not_begun(directory)
    with _finishing(directory, [*map(_seed_of, begun), *(entry.seed for entry in further)]):
        for seed in begun:
            resume(seed, data_dir, device, listen)
        for entry in further:
            place = replace(
                entry.place, data_dir=data_dir or entry.place.data_dir, device=device or entry.place.device
            )
            _execute(replace(entry, place=place), listen)
    return summarise(directory)


def restored(directory: Path, device: str = "cpu") -> Fit:
    """The learner of a run as its last checkpoint has it, also on a CPU if it was made on a GPU.

    Needs no data: the stream that it has is an outline. Raises `Unusable` when there is no sound checkpoint.
    """
    cfg, seed = saved_config(directory), environment_of(directory)["seed"]
    run = assemble(without_base(cfg), saved_stream(directory), seed, device)
    report = reporter(directory)
    saves, check = directory / "checkpoint", bound.check(directory, report)
    if checkpoint.load(run, saves, report, check, exact=False) is None:
        raise Unusable(f"{directory} has no checkpoint yet; start or resume the run first")
    return run


def summarise(directory: Path) -> dict[str, Any]:
    """Write DIR/summary.json over the finished seeds (and DIR/result.json when there is one) and return it.

    One process at a time, so that of seeds that finish at once none is left out.
    """
    with held(directory, reporter(directory), PATIENCE):
        finished = {d: result for d in seed_directories(directory) if (result := read_result(d)) is not None}
        for seed in finished:
            forget(seed)  # a note of a process that was killed when all was done
        results = list(finished.values())
        if not results:
            raise Unusable(
                f"{directory} holds no finished run yet; go on with: hypermnesia resume {directory}"
            )
        try:
            clear_abandoned(directory / "summary.json", alone=True)
            clear_abandoned(directory / "result.json", alone=True)
            summary = summary_of(results)
            write_record(directory / "summary.json", Summary, summary)
            if len(results) == 1:
                write_record(directory / "result.json", Result, results[0])
            else:  # it was a copy of the only seed's result, and that is not the only one any more
                (directory / "result.json").unlink(missing_ok=True)
        except OSError as error:
            raise HypermnesiaError(f"cannot write to {directory}: {error.strerror or error}") from error
    return summary


# ------------------------------------------------------------------------------------------------------ training


def _train(run: Fit, cfg: Config, seed: int, directory: Path, listener: Listener | None) -> dict[str, Any]:
    with asked_to_stop(run) as asked, recording(run, cfg, seed, directory, listener, asked) as kept:
        try:
            for event in run:
                if kept.hear(event):
                    raise Interrupted(asked[0], directory)
        except Abandoned as left:
            if left.whole:
                kept.save()
            raise Interrupted(asked[0], directory) from left
    return kept.result
