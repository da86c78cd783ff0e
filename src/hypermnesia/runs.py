"""Run directories: how a run gets one, is found again, resumed, and read back as a learner."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hypermnesia import checkpoint, continued, shortage, varied
from hypermnesia.continued import Continuation
from hypermnesia.course import Interrupted, Listener, course, reporter
from hypermnesia.environment import environment
from hypermnesia.errors import HypermnesiaError, RunFailed
from hypermnesia.experiment import Config, assemble, build, without_base
from hypermnesia.fit import Fit
from hypermnesia.recipes import flatten
from hypermnesia.results import summary_of
from hypermnesia.rundir import (
    Unusable,
    environment_of,
    exists,
    read_result,
    saved_config,
    saved_stream,
    seed_directories,
    stream_sha256,
    write_json,
)
from hypermnesia.stack import pays, together, why_apart
from hypermnesia.stopping import asked_to_stop
from hypermnesia.streams.outline import outline

Stacked = Literal["auto", "on", "off"]
Listen = Callable[[Config, int, Path], contextlib.AbstractContextManager[Listener]]
"""(configuration, seed, DIR/seed-K) → what hears the events of that run, within a `with` block around it."""


@dataclass(frozen=True)
class Place:
    """Where a run with one seed lives."""

    directory: Path
    """DIR/seed-K."""
    data_dir: Path | None = None
    device: str = "cpu"
    sealed: bool = False
    """Evaluate on validation parts only (searches)."""


@dataclass(frozen=True)
class Entry:
    """A run that is to be: one seed of a configuration."""

    cfg: Config
    seed: int
    place: Place


class OneFailed(RunFailed):
    """One of several runs that trained together failed, and all stopped."""

    def __init__(self, error: RunFailed, entry: Entry) -> None:
        super().__init__(str(error))
        self.entry = entry


def default_directory(cfg: Config, root: Path = Path("runs")) -> Path:
    """runs/BENCHMARK/APPROACH-<first 8 of the configuration's hash>; characters that paths dislike are replaced."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in cfg.benchmark).strip(".") or "stream"
    return root / safe / f"{cfg.approach.name}-{cfg.sha256[:8]}"


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

    `stacked`: whether all seeds train as one program (`hypermnesia.stack`), whose results differ from theirs by rounding;
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
    with shortage.told("these runs together"):
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
        raise (error if entry is None else OneFailed(error, entry)) from error
    return True


def _train_together(entries: Sequence[Entry], built: Sequence[Fit], listen: Listen) -> None:
    with contextlib.ExitStack() as open_:
        asked = open_.enter_context(asked_to_stop())
        courses = []
        for e, run in zip(entries, built, strict=True):
            directory = e.place.directory
            open_.enter_context(locked(directory))
            listener = open_.enter_context(listen(e.cfg, e.seed, directory))
            courses.append(open_.enter_context(course(run, e.cfg, e.seed, directory, listener, asked)))
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
    chosen = varied.numbers(
        [
            {**e.cfg.names, "": [e.cfg.benchmark, e.cfg.approach.name], "sections": dict(e.cfg.sections)}
            for e in entries
        ]
    )
    read = varied.numbers([(run.method, run.optimizer_options) for run in built])
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
    with shortage.told("this configuration"):
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
            return continued.build(cfg, seed, saved, goes_on, place.data_dir, place.device)
    return build(cfg, seed, place.data_dir, place.device, place.sealed)


def finished_result(cfg: Config, seed: int, directory: Path) -> dict[str, Any] | None:
    """The result of this very run if it is finished in `directory`; None if it is unfinished or not there at all.

    Raises `Unusable` when the directory holds anything else.
    """
    if not exists(directory):
        return None
    _check_config(cfg, seed, directory)
    result = read_result(directory)
    if result is not None and result["config_sha256"] != cfg.sha256:
        raise Unusable(
            f"{directory}/result.json is not of the configuration beside it; remove it to run again"
        )
    return result


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


# ------------------------------------------------------------------------------------------------- the directory


def _check_config(cfg: Config, seed: int, directory: Path) -> None:
    """Raise unless `directory` holds the run of `cfg` with `seed`."""
    there = saved_config(directory)
    _check_same(there, cfg, directory)
    saved = environment_of(directory)["seed"]
    if saved != seed:
        raise Unusable(f"{directory} holds a run with seed {saved}, not {seed}; {_OTHER}")
    ours, theirs = _seeds(cfg), _seeds(there)
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise Unusable(f"{directory} holds a run with {key}={theirs.get(key)}, not {value}; {_OTHER}")


def _check_same(there: Config, cfg: Config, directory: Path) -> None:
    if there.sha256 != cfg.sha256:
        raise Unusable(
            f"{directory} holds a run with another configuration ({there.sha256[:8]}, not {cfg.sha256[:8]}); "
            f"{_OTHER}"
        )


_OTHER = "give another --out, or remove it"


def _seeds(cfg: Config) -> dict[str, Any]:
    """What sets single sources of randomness: it changes results, but is no part of the configuration's hash."""
    return {
        key: value
        for key, value in flatten(cfg.tree()).items()
        if key.startswith("seeds.") or key == "stream.seed"
    }


def create(
    cfg: Config,
    seed: int,
    place: Place,
    run: Fit,
    more: Mapping[str, Any] | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> None:
    """Make the directory appear by one rename, with its configuration inside.

    `more`: for environment.json. `prepare` may put further files into the directory before it appears.
    """
    directory = place.directory
    fresh = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    about = (
        environment(place.device)
        | {
            "seed": seed,
            "sealed": place.sealed,
            "threads": cfg.sections["train"].threads or torch.get_num_threads(),
            "data_dir": str(place.data_dir.resolve()) if place.data_dir else None,
        }
        | dict(more or {})
    )
    try:
        _clear_abandoned(directory)
        shutil.rmtree(fresh, ignore_errors=True)  # of a process with the same number
        fresh.mkdir(parents=True)
        (fresh / "config.toml").write_text(cfg.to_toml(), encoding="utf-8")
        (fresh / "environment.json").write_text(json.dumps(about, indent=1))
        stream = {"sha256": run.tested_on.sha256} | outline(run.tested_on)
        (fresh / "stream.json").write_text(json.dumps(stream))
        if prepare is not None:
            prepare(fresh)
        os.replace(fresh, directory)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise HypermnesiaError(
            f"cannot create the run directory {directory}: {error.strerror or error}"
        ) from error


def _clear_abandoned(directory: Path) -> None:
    """Remove what processes that were killed while they created `directory` have left beside it."""
    for part in directory.parent.glob(f".{directory.name}.[0-9]*.part"):
        try:
            os.kill(int(part.name.split(".")[-2]), 0)
        except (ProcessLookupError, OverflowError):
            shutil.rmtree(part, ignore_errors=True)
        except (PermissionError, ValueError):
            continue  # a process of another user, or no name of ours


def _check_stream(run: Fit, directory: Path) -> None:
    """Raise unless the run was begun on the same data."""
    sha256 = stream_sha256(directory)
    if sha256 != run.tested_on.sha256:
        raise Unusable(
            f"{directory} was begun on other data (stream {sha256[:8]}, now {run.tested_on.sha256[:8]}); "
            "bring them back, or give another --out"
        )


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process per run directory; the second is told who has it."""
    try:
        file = open(directory / "lock", "a+")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise HypermnesiaError(f"cannot write to {directory}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Unusable(f"{directory} is in use by process {file.read().strip() or '?'}") from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds, and does not say whose it is
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


# ------------------------------------------------------------------------------------------------------ training


def _train(run: Fit, cfg: Config, seed: int, directory: Path, listener: Listener | None) -> dict[str, Any]:
    with asked_to_stop() as asked, course(run, cfg, seed, directory, listener, asked) as kept:
        for event in run:
            if kept.hear(event):
                raise Interrupted(asked[0], directory)
    return kept.result
