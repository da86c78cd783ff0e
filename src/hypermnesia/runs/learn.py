"""One more task for a finished run, at any later time and without the earlier tasks' data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import write_synced
from hypermnesia.data import Stream, StreamOptions, TextForm
from hypermnesia.data.extend import OPTIONS, Further, named
from hypermnesia.experiments import config
from hypermnesia.experiments.config import parse_words
from hypermnesia.experiments.resolve import Config, with_words
from hypermnesia.runs import bound, continuation
from hypermnesia.runs.continuation import Continuation
from hypermnesia.runs.directory import (
    Place,
    Unusable,
    create,
    environment_of,
    exists,
    read_result,
    saved_config,
    saved_stream,
    seed_directories,
    stream_sha256,
)
from hypermnesia.runs.execute import Listen, execute, restored, silent, summarise
from hypermnesia.runs.recorder import EVENTS
from hypermnesia.training import checkpoint, events
from hypermnesia.training.loop import Fit

MAY_CHANGE = ("train", "optimizer", "evaluate", "checkpoint", "method", "ewc", "mas", "si", "drift", "anchor")
"""Sections whose settings may be other ones for the new task; all else is part of what was learned."""


@dataclass(frozen=True)
class Learned:
    """What came of `learn`."""

    directory: Path
    """The new run."""
    classes: tuple[str, ...]
    """Names of the classes that the run did not have before."""
    known: tuple[str, ...]
    """Names of those that it had, and now learned more of."""
    summary: dict[str, Any]
    """As `runs.summarise` gives it."""
    kept: dict[str, tuple[float, float]]
    """scenario → mean accuracy on the earlier tasks' tests before and after, over the seeds; empty if not tested again."""
    untested: str
    """Why the earlier tasks were not tested again; empty if they were."""


def learn(
    directory: Path,
    data: str,
    words: Sequence[str] = (),
    *,
    out: Path | None = None,
    apart: bool = False,
    retest: bool | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    listen: Listen = silent,
) -> Learned:
    """Let the finished run in `directory` (DIR or DIR/seed-K) learn the classes in `data`, as a new run in `out`.

    `data`: a folder with a sub-folder for each class, parquet files, or a source's name; see `streams.further`. Its
    samples are brought to the shape of the run's, and are one more task unless `words` (`key=value`) say otherwise
    (`stream.tasks`, `stream.classes_per_task`); they may also change how it is trained (`train.iterations`,
    `drift.beta`). `out`: by default beside `directory`, which stays as it is. `apart`: classes are new even where the
    run has some of the same names. `retest`: test the earlier tasks again, on the run's own data (from `data_dir`, by default
    where the run had them); None: if they are there.

    The new run can be resumed, read and learned from like any other. Raises `HypermnesiaError` for a run that is not
    finished or cannot grow, and for data that do not fit it. The same call again goes on with what an earlier one has
    begun.
    """
    further, settings = _split(named(data), words, apart, data_dir)
    seeds = seed_directories(directory)
    target = out or _beside(directory, further.data)
    numbers = [environment_of(seed)["seed"] for seed in seeds]
    data_dirs = [data_dir or _data_dir(seed) for seed in seeds]
    places = [
        Place(target / f"seed-{number}", where, device)
        for number, where in zip(numbers, data_dirs, strict=True)
    ]
    if target.exists() and not {entry.name for entry in _shown(target)} <= _LEFT | {
        p.directory.name for p in places
    }:
        raise _other(target)
    begun = [
        _begin(seed, place, further, settings, retest) for seed, place in zip(seeds, places, strict=True)
    ]
    for number, place, (cfg, _, _, _) in zip(numbers, places, begun, strict=True):
        with listen(cfg, number, place.directory) as listener:
            execute(cfg, number, place, listener)
    cfg, fresh, known, untested = begun[0]
    summary = summarise(target)
    before = len(saved_stream(seeds[0]).tasks)
    return Learned(target, fresh, known, summary, {} if untested else _kept(places, before), untested)


def _data_dir(directory: Path) -> Path | None:
    said = environment_of(directory).get("data_dir")
    return Path(said) if said else None


def _kept(places: Sequence[Place], tasks: int) -> dict[str, tuple[float, float]]:
    """Mean accuracy on the first `tasks` tests when they had been learned and at the end, where both were measured."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for place in places:
        for name, scenario in (read_result(place.directory) or {"scenarios": {}})["scenarios"].items():
            matrix = scenario["matrix"]
            if len(matrix) > tasks:
                found = zip(matrix[tasks - 1][:tasks], matrix[-1][:tasks], strict=True)
                pairs.setdefault(name, []).extend((a, b) for a, b in found if a is not None and b is not None)
    return {
        name: (sum(a for a, _ in found) / len(found), sum(b for _, b in found) / len(found))
        for name, found in pairs.items()
        if found
    }


def _begin(
    directory: Path, place: Place, further: Further, settings: Sequence[str], retest: bool | None
) -> tuple[Config, tuple[str, ...], tuple[str, ...], str]:
    """Make the new run's directory, with what the finished one knows as its first checkpoint.

    Returns its configuration, the names of the classes that are new and of those that were known, and why the earlier tasks
    are not tested again.
    """
    former, seed = saved_config(directory), environment_of(directory)["seed"]
    cfg = with_words(former, settings)
    _check_changes(former, cfg)
    if cfg.approach.joined:
        raise HypermnesiaError(
            f"{directory}: {cfg.approach.name} learns all tasks at once and none later; run it again over all data"
        )
    finished, saved = restored(directory, place.device), saved_stream(directory)
    if finished.position.task < len(finished.stream.tasks):
        raise Unusable(f"{directory} is not finished; go on with: hypermnesia resume {directory}")
    vocabulary = cfg.sections["stream"].vocabulary or TextForm.vocabulary
    before = environment_of(directory).get("continues")
    goes_on = Continuation(
        further=replace(further, vocabulary=vocabulary),
        tasks=len(saved.tasks),
        classes=saved.num_classes,
        stream_sha256=stream_sha256(directory),
        earlier=Continuation.from_json(before) if before else None,
    )
    run, goes_on, untested = _built(cfg, seed, saved, goes_on, place, retest)
    if exists(place.directory):  # an attempt that failed: it goes on
        _check_begun(place.directory, cfg, goes_on)
    else:
        continuation.take_over(run, finished)
        about = {"continues": goes_on.as_json()}
        create(cfg, seed, place, run, about, lambda fresh: first_checkpoint(fresh, run, directory))
    names = run.tested_on.class_names
    learned = {c for task in run.stream.tasks[goes_on.tasks :] for c in task.classes}
    fresh = tuple(names[c] for c in sorted(learned) if c >= goes_on.classes)
    return cfg, fresh, tuple(names[c] for c in sorted(learned) if c < goes_on.classes), untested


def _built(
    cfg: Config, seed: int, saved: Stream, goes_on: Continuation, place: Place, retest: bool | None
) -> tuple[Fit, Continuation, str]:
    """The run, how it goes on, and why it does not test the earlier tasks again. `retest`: as for `learn`; what has begun
    goes on as it began."""
    if retest is None and exists(place.directory):
        retest = bool((environment_of(place.directory).get("continues") or {}).get("retest"))
    untested = ""
    if retest is not False:
        tested = replace(goes_on, retest=True)
        try:
            return continuation.build(cfg, seed, saved, tested, place.data_dir, place.device), tested, ""
        except HypermnesiaError as error:
            if retest:
                raise
            untested = str(error)  # where it is the new data that do not do, the next line raises again
    plain = continuation.build(cfg, seed, saved, goes_on, place.data_dir, place.device)
    return plain, goes_on, untested or "as asked"


def first_checkpoint(fresh: Path, run: Fit, earlier: Path) -> None:
    """Put the earlier run's log and what it knows, as a first checkpoint, into a directory that is being made."""
    log = fresh / EVENTS
    before = earlier / EVENTS
    write_synced(
        log, before.read_bytes() if before.exists() else b""
    )  # a log that was removed is missed by nothing
    extra = {bound.KEY: bound.binding(fresh), **events.mark(log)}
    checkpoint.save(run, fresh / "checkpoint", extra)


def _check_begun(directory: Path, cfg: Config, goes_on: Continuation) -> None:
    """Raise unless `directory` holds this very continuation."""
    about = environment_of(directory).get("continues")
    same = saved_config(directory).sha256 == cfg.sha256 and about is not None
    if not same or Continuation.from_json(about) != goes_on:
        raise _other(directory.parent)


def _other(target: Path) -> Unusable:
    return Unusable(f"{target} exists already and holds something else; give another --out, or remove it")


_LEFT = {"result.json", "summary.json"}
"""What lies beside the seeds."""


def _shown(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if not path.name.startswith(".")]


def _check_changes(former: Config, cfg: Config) -> None:
    """Raise for words that change what the run has learned, or what it remembers in."""
    for name, section in cfg.sections.items():
        if name not in MAY_CHANGE and section != former.sections[name]:
            raise HypermnesiaError(
                f"learn goes on with the run's own {name}; only settings of these can be other ones now: "
                f"{', '.join(n for n in MAY_CHANGE if n in cfg.sections)}; and of the new data: "
                + ", ".join(f"stream.{option}" for option in OPTIONS)
            )
    memories = [getattr(part.sections["method"], "memory", None) for part in (former, cfg)]
    if memories[0] != memories[1]:
        raise HypermnesiaError("learn goes on with the run's own memory: memory.* cannot be changed now")


def _split(data: str, words: Sequence[str], apart: bool, data_dir: Path | None) -> tuple[Further, list[str]]:
    """(the further data with what the words say of them, the words that say how to train)."""
    known = {f"stream.{name}": name for name in OPTIONS}
    given: dict[str, Any] = {}
    settings = []
    for word in words:
        [(key, value)] = parse_words([word]).items()
        name = known.get(key) or (key if key in OPTIONS else None)
        if name is None:
            settings.append(word)
        elif name in given:
            raise HypermnesiaError(f"stream.{name} is given twice; give it once")
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    options = config.build(StreamOptions, given, "stream")
    return Further(data=data, options=options, apart=apart, data_dir=data_dir), settings


def _beside(directory: Path, data: str) -> Path:
    """The run's directory, with the name of the data behind a +."""
    of_seed = (directory / "config.toml").is_file() and directory.name.startswith("seed-")
    root = directory.parent if of_seed else directory
    name = re.sub(r"[^\w.-]+", "-", Path(data.partition(":")[2] or data).stem) or "more"
    return root.with_name(f"{root.name}+{name}")
