"""What a run directory holds, read back and checked."""

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from hypermnesia.core import locks
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import (
    clear_abandoned,
    make_directory,
    sync_directory,
    temporary_beside,
    write_synced,
)
from hypermnesia.core.printable import printable
from hypermnesia.core.registry import PREFIX, Untrusted, refusing
from hypermnesia.core.secrets import flatten as plain_settings
from hypermnesia.data import Stream
from hypermnesia.data.outline import from_outline, outline
from hypermnesia.evaluation.schema import Damaged, Environment, Result, read_object, read_plain, seeds_in
from hypermnesia.experiments.recipes import flatten
from hypermnesia.experiments.resolve import UNHASHED, Config, from_toml, resolve
from hypermnesia.report.load import labels
from hypermnesia.runs.environment import environment
from hypermnesia.training.loop import Fit


class Unusable(HypermnesiaError):
    """A run directory that is damaged, holds another run, or is in use."""


def saved_config(directory: Path, asked: Config | None = None) -> Config:
    """The configuration that a seed directory was started with; raises `Unusable` if it cannot be told.

    `asked`: what the user wants to run there, where that is no command to go on with whatever the directory holds. Of the
    code that the saved one names only what this names, too, is imported then.
    """
    try:
        text = (directory / "config.toml").read_text(encoding="utf-8")
        if asked is None:
            return from_toml(text)
        named = {value for value in flatten(asked.tree()).values() if str(value).startswith(PREFIX)}
        with refusing(f"{directory} holds a run of code that was not asked for; {_OTHER}", named):
            return from_toml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{directory} is no run directory: config.toml cannot be read ({error})") from error
    except Untrusted:
        raise
    except HypermnesiaError as error:
        raise Unusable(f"{directory} is damaged or of another version: config.toml: {error}") from error


def environment_of(directory: Path) -> dict[str, Any]:
    """What environment.json says: seed, device, versions; raises `Unusable` if that cannot be told."""
    try:
        return read_plain(directory / "environment.json", Environment)
    except Damaged as error:
        raise Unusable(f"{directory} is damaged: environment.json cannot be used ({error})") from error


def saved_stream(directory: Path) -> Stream:
    """The stream of a seed directory's run, without its samples."""
    try:
        return from_outline(read_object(directory / "stream.json"))
    except HypermnesiaError as error:
        raise Unusable(f"{directory} is damaged: stream.json cannot be used ({error})") from error


def task_names(directory: Path) -> list[str]:
    """The names of the tasks of a seed directory's run."""
    return [task.name for task in saved_stream(directory).tasks]


def read_result(directory: Path) -> dict[str, Any] | None:
    """The result of a finished seed directory, None if it has none; raises `Unusable` for a damaged one."""
    path = directory / "result.json"
    if not exists(path):
        return None
    try:
        return read_plain(path, Result)
    except Damaged as error:
        raise Unusable(f"{path} cannot be used ({error}); remove it to run again") from error


def seed_directories(directory: Path) -> list[Path]:
    """DIR/seed-K in the order of K; the directory itself if it is one."""
    if (directory / "config.toml").is_file():
        return [directory]
    found = [seed for seed in seeds_in(directory) if (seed / "config.toml").is_file()]
    if not found:
        raise Unusable(
            f"{directory} holds no run: expected seed-K/config.toml in it; hypermnesia list runs {directory} shows those below"
        )
    return found


def stream_sha256(directory: Path) -> str:
    """The checksum of the data that a seed directory's run was begun on."""
    try:
        return str(read_object(directory / "stream.json")["sha256"])
    except (Damaged, KeyError) as error:
        raise Unusable(f"{directory} is damaged: stream.json cannot be used ({error})") from error


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise HypermnesiaError(f"{path} cannot be looked at: {error.strerror or error}") from error


@dataclass(frozen=True)
class Place:
    """Where a run with one seed lives."""

    directory: Path
    """DIR/seed-K."""
    data_dir: Path | None = None
    device: str = "cpu"
    sealed: bool = False
    """Evaluate on validation parts only (searches)."""
    seeds: tuple[int, ...] = ()
    """All seeds of the command that begins this one, where they are several: so that `resume` knows of them."""


@dataclass(frozen=True)
class Entry:
    """A run that is to be: one seed of a configuration."""

    cfg: Config
    seed: int
    place: Place


def path_safe(text: str, also: str = "") -> str:
    """`text` with the characters that paths dislike replaced, but for those of `also`."""
    return "".join(c if c.isalnum() or c in "-_." + also else "_" for c in text)


def default_directory(cfg: Config, root: Path = Path("runs")) -> Path:
    """runs/BENCHMARK/APPROACH-SETTINGS-<first 8 of the configuration's hash>, such as `er-size=500-1a2b3c4d`.

    The settings are those that differ from what the approach has there by itself; characters that paths dislike are
    replaced. A run that lies under the name without settings, as version 0.1 gave it, keeps that.
    """
    benchmark, approach = (path_safe(name).strip(".") for name in (cfg.benchmark, cfg.approach.name))
    if len(os.fsencode(benchmark)) > _MOST_BYTES:
        benchmark = benchmark[-_MOST_OF_NAME:].lstrip(
            "."
        )  # a long path, whose end tells most; the hash tells the rest
    parent, end = root / (benchmark or "stream"), cfg.sha256[:8]
    plain, said = parent / f"{approach}-{end}", _settings(cfg)
    return parent / f"{approach}-{said}-{end}" if said and not exists(plain) else plain


_MOST_OF_NAME = 60
_MOST_BYTES = 255
"""Of the name of a file, in every file system."""


def _settings(cfg: Config) -> str:
    """`size=500,lr=0.1`: the settings that are not the approach's own on its benchmark."""
    try:
        usual = resolve(cfg.benchmark, cfg.approach.name)
    except HypermnesiaError:
        return ""  # it cannot be resolved without the user's words: there is nothing to differ from
    own, theirs = (
        {
            key: value
            for key, value in plain_settings(c.tree()).items()
            if not any(fnmatch(key, p) for p in UNHASHED)
        }
        for c in (cfg, usual)
    )
    own = {key: theirs.get(key, value) if value == "null" else value for key, value in own.items()}
    label = labels(["", ""], [theirs, own])[1]
    said = "" if label.startswith(" #") else label.strip(" ()")
    return ",".join(path_safe(word.strip("… "), "=") for word in said.split(", "))[:_MOST_OF_NAME].strip(",")


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
    if result is not None and result["seed"] != seed:
        raise Unusable(
            f"{directory}/result.json is of seed {result['seed']}, and the files beside it of {seed}"
        )
    return result


# ------------------------------------------------------------------------------------------------- the directory


def _check_config(cfg: Config, seed: int, directory: Path) -> None:
    """Raise unless `directory` holds the run of `cfg` with `seed`."""
    there = saved_config(directory, cfg)
    _check_same(there, cfg, directory)
    saved = environment_of(directory)["seed"]
    if saved != seed:
        raise Unusable(f"{directory} holds a run with seed {saved}, not {seed}; {_OTHER}")
    ours, theirs = stray_seeds(cfg), stray_seeds(there)
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


def stray_seeds(cfg: Config) -> dict[str, Any]:
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
    """Make the directory appear by one rename, with its configuration inside: whole, or not at all after a power cut.

    `more`: for environment.json. `prepare` may put further files into the directory before it appears.
    """
    directory = place.directory
    fresh = temporary_beside(directory)
    about = (
        environment(place.device)
        | {
            "seed": seed,
            "sealed": place.sealed,
            "threads": run.threads
            or ("auto" if cfg.sections["train"].threads == "auto" else torch.get_num_threads()),
            "data_dir": str(place.data_dir.resolve()) if place.data_dir else None,
        }
        | ({"seeds": list(place.seeds)} if len(place.seeds) > 1 else {})
        | dict(more or {})
    )
    stream = {"sha256": run.tested_on.sha256} | outline(run.tested_on)
    _require_text(about)
    try:
        make_directory(directory.parent)
        clear_abandoned(directory)
        fresh.mkdir()
        write_synced(fresh / "config.toml", cfg.to_toml().encode())
        write_synced(fresh / "environment.json", json.dumps(about, indent=1).encode())
        write_synced(fresh / "stream.json", json.dumps(stream).encode())
        if prepare is not None:
            prepare(fresh)
        sync_directory(fresh)
        os.replace(fresh, directory)
        sync_directory(directory.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Unusable(
                f"{directory} is in use: another process has just begun a run there; {_OTHER}"
            ) from error
        raise HypermnesiaError(
            f"cannot create the run directory {directory}: {error.strerror or error}"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # of one that could not be made


def _require_text(about: Mapping[str, Any]) -> None:
    """Raise for a path that is no text, which nobody could read back."""
    text = json.dumps(about, indent=1, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].rpartition("\n")[2] + text[error.start :].partition("\n")[0]
        raise HypermnesiaError(
            f"{line.strip(' ,')} holds bytes that are not UTF-8; rename what it names"
        ) from error


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
    with locks.locked(directory, reporter(directory)):
        yield


def reporter(directory: Path) -> Callable[[str], None]:
    """Says something about a run's directory on standard error."""
    return lambda text: print(f"hypermnesia: {printable(f'{directory}: {text}')}", file=sys.stderr)
