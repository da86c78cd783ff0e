"""Run directories: how a run gets one, is found again, resumed, and read back as a learner."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from hypermnesia.core import trees
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.experiments.build import assemble, build, without_base
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs import continuation
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
    saved_config,
    saved_stream,
    seed_directories,
    write_json,
)
from hypermnesia.runs.recorder import Interrupted, Listener, asked_to_stop, recording, reporter
from hypermnesia.runs.results import summary_of
from hypermnesia.training import checkpoint, guards
from hypermnesia.training.loop import Fit
from hypermnesia.training.stacked import pays, together, why_apart

Stacked = Literal["auto", "on", "off"]
Listen = Callable[[Config, int, Path], contextlib.AbstractContextManager[Listener]]
"""(configuration, seed, DIR/seed-K) → what hears the events of that run, within a `with` block around it."""


class OneFailed(RunFailed):
    """One of several runs that trained together failed, and all stopped."""

    def __init__(self, error: RunFailed, entry: Entry) -> None:
        super().__init__(str(error))
        self.entry = entry


# ------------------------------------------------------------------------------------------------------ executing


@contextlib.contextmanager
def silent(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
    """Hears nothing: the default of `execute_seeds`."""
    yield lambda event: None


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
    holds seeds of another configuration.
    """
    for other in directory.glob("seed-*/config.toml"):
        try:
            there = saved_config(other.parent)
        except Unusable:
            continue  # told when it is its turn
        _check_same(there, cfg, other.parent)
    entries = [Entry(cfg, seed, Place(directory / f"seed-{seed}", data_dir, device)) for seed in seeds]
    if stacked == "off" or not execute_together(entries, listen, stacked):
        for entry in entries:
            with listen(cfg, entry.seed, entry.place.directory) as listener:
                execute(cfg, entry.seed, entry.place, listener)
    return summarise(directory)


def execute_together(entries: Sequence[Entry], listen: Listen = silent, stacked: Stacked = "auto") -> bool:
    """Run all that is not finished as one program; False, with a word why, where they had better run apart.

    The entries are seeds of one configuration, or differ in numbers (`stack`). Raises as `execute`, and `HypermnesiaError`
    where `stacked` is on and they have to run apart. When one fails, all stop.
    """
    left = [e for e in entries if finished_result(e.cfg, e.seed, e.place.directory) is None]
    if not left:
        return True
    with guards.told("these runs together"):
        built = [_built(e.cfg, e.seed, e.place) for e in left]
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
    for e, run in zip(left, built, strict=True):
        if exists(e.place.directory):
            _check_stream(run, e.place.directory)
        else:
            create(e.cfg, e.seed, e.place, run, {"stacked_with": beside})
    try:
        _train_together(left, built, listen)
    except RunFailed as error:
        entry = next((e for e, run in zip(left, built, strict=True) if run is error.of), None)
        if entry is None:
            raise
        raise OneFailed(error, entry) from error
    return True


def _train_together(entries: Sequence[Entry], built: Sequence[Fit], listen: Listen) -> None:
    with contextlib.ExitStack() as open_:
        asked = open_.enter_context(asked_to_stop())
        courses = []
        for e, run in zip(entries, built, strict=True):
            directory = e.place.directory
            open_.enter_context(locked(directory))
            listener = open_.enter_context(listen(e.cfg, e.seed, directory))
            courses.append(open_.enter_context(recording(run, e.cfg, e.seed, directory, listener, asked)))
        saved = set()
        for i, event in together(built):
            if courses[i].hear(event):
                saved.add(i)
            if len(saved) == len(courses):
                raise Interrupted(asked[0], *(e.place.directory for e in entries))


def _why_unlike(entries: Sequence[Entry], built: Sequence[Fit]) -> str:
    """Why runs of different configurations are no one program; empty if they are, as far as configurations tell.

    They may differ in numbers that end up in the method or as learning rates, where `stack` looks for them, and nowhere
    else, such as in a mask's sparsity.
    """
    if len({e.cfg.sha256 for e in entries}) == 1:
        return ""
    chosen = trees.numbers(
        [
            {**e.cfg.names, "": [e.cfg.benchmark, e.cfg.approach.name], "sections": dict(e.cfg.sections)}
            for e in entries
        ]
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
    with guards.told("this configuration"):
        run = _built(cfg, seed, place)
    if exists(place.directory):
        _check_stream(run, place.directory)
    else:
        create(cfg, seed, place, run)
    with locked(place.directory):
        finished = finished_result(cfg, seed, place.directory)  # by another process, since we looked
        return finished if finished is not None else _train(run, cfg, seed, place.directory, listener)


def _built(cfg: Config, seed: int, place: Place) -> Fit:
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
    cfg, saved = saved_config(directory), environment_of(directory)
    if data_dir is None and saved.get("data_dir"):
        data_dir = Path(saved["data_dir"])
    device = device or str(saved.get("device", "cpu"))
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise HypermnesiaError(f"{directory} was begun on {device}, which torch does not see here")
    place = Place(directory, data_dir, device, saved.get("sealed") is True)
    with listen(cfg, saved["seed"], directory) as listener:
        return execute(cfg, saved["seed"], place, listener)


def restored(directory: Path, device: str = "cpu") -> Fit:
    """The learner of a run as its last checkpoint has it. Needs no data: the stream that it has is an outline.

    Raises `Unusable` when there is no sound checkpoint.
    """
    cfg, seed = saved_config(directory), environment_of(directory)["seed"]
    run = assemble(without_base(cfg), saved_stream(directory), seed, device)
    if checkpoint.load(run, directory / "checkpoint", reporter(directory)) is None:
        raise Unusable(f"{directory} has no checkpoint yet; start or resume the run first")
    return run


def summarise(directory: Path) -> dict[str, Any]:
    """Write DIR/summary.json over the finished seeds (and DIR/result.json when there is one) and return it."""
    results = [result for d in seed_directories(directory) if (result := read_result(d)) is not None]
    if not results:
        raise Unusable(f"{directory} holds no finished run yet; go on with: hypermnesia resume {directory}")
    try:
        summary = summary_of(results)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise Unusable(
            f"a result.json in {directory} is damaged ({error}); remove it to run again"
        ) from error
    try:
        write_json(directory / "summary.json", summary)
        if len(results) == 1:
            write_json(directory / "result.json", results[0])
        else:  # it was a copy of the only seed's result, and that is not the only one any more
            (directory / "result.json").unlink(missing_ok=True)
    except OSError as error:
        raise HypermnesiaError(f"cannot write to {directory}: {error.strerror or error}") from error
    return summary


# ------------------------------------------------------------------------------------------------------ training


def _train(run: Fit, cfg: Config, seed: int, directory: Path, listener: Listener | None) -> dict[str, Any]:
    with asked_to_stop() as asked, recording(run, cfg, seed, directory, listener, asked) as kept:
        for event in run:
            if kept.hear(event):
                raise Interrupted(asked[0], directory)
    return kept.result
