"""Run directories: what a run leaves on disk, and how it is found, resumed and summed up."""

import contextlib
import fcntl
import json
import os
import platform
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from hypermnesia import __version__, checkpoint, metrics
from hypermnesia.errors import HypermnesiaError, RunFailed
from hypermnesia.evaluate import tests_are_tasks
from hypermnesia.events import Evaluated, Event, RunEnded, StepDone, TaskEnded, TaskStarted
from hypermnesia.experiment import Config, build, from_toml
from hypermnesia.fit import Fit
from hypermnesia.portrait import portrait
from hypermnesia.tensors import Tensors, count, num_bytes

FORMAT = 1
LOGGED_EVERY = 20
"""Steps between two step events in events.jsonl."""
Listener = Callable[[Event], None]


class Interrupted(HypermnesiaError):
    """A run that was asked to stop and has saved itself."""

    def __init__(self, number: int, directory: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; go on with: hypermnesia resume {directory}")
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Place:
    """Where a run with one seed lives."""

    directory: Path
    """DIR/seed-K."""
    data_dir: Path | None = None
    device: str = "cpu"
    sealed: bool = False
    """Evaluate on validation parts only (searches)."""


def default_directory(cfg: Config, root: Path = Path("runs")) -> Path:
    """runs/BENCHMARK/APPROACH-<first 8 of the configuration's hash>; characters that paths dislike are replaced."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in cfg.benchmark).strip(".") or "stream"
    return root / safe / f"{cfg.approach.name}-{cfg.sha256[:8]}"


def execute(cfg: Config, seed: int, place: Place, listener: Listener | None = None) -> dict:
    """Run `cfg` with `seed` in its directory and return its result; finished runs are recognised, others resumed."""
    directory = place.directory
    finished = read_result(directory)
    if finished is not None:
        _same_config(finished["config_sha256"], cfg, directory)
        return finished
    _prepare(cfg, seed, place)
    with _lock(directory):
        run = build(cfg, seed, place.data_dir, place.device, place.sealed)
        (directory / "stream.json").write_text(json.dumps({"sha256": run.tested_on.sha256}))
        return _train(run, cfg, seed, directory, listener or (lambda event: None))


def resume(directory: Path, data_dir: Path | None, device: str, listener: Listener | None = None) -> dict:
    """Go on with the run in `directory` (DIR/seed-K) from its own saved configuration."""
    cfg, saved = saved_config(directory), environment_of(directory)
    data_dir = data_dir or (Path(saved["data_dir"]) if saved.get("data_dir") else None)
    place = Place(directory, data_dir, device, saved.get("sealed", False))
    return execute(cfg, saved["seed"], place, listener)


def saved_config(directory: Path) -> Config:
    """The configuration that a seed directory was started with."""
    try:
        text = (directory / "config.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HypermnesiaError(f"{directory} is no run directory: config.toml cannot be read ({error})") from error
    return from_toml(text)


def environment_of(directory: Path) -> dict:
    """What environment.json says: seed, device, versions."""
    try:
        saved = json.loads((directory / "environment.json").read_bytes())
        if not isinstance(saved["seed"], int) or isinstance(saved["seed"], bool):
            raise ValueError(f"seed is {saved['seed']!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HypermnesiaError(f"{directory}: environment.json cannot be used ({error})") from error
    return saved


def read_result(directory: Path) -> dict | None:
    """The result of a finished seed directory, None if it has none. A damaged one is an error."""
    path = directory / "result.json"
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_bytes())
        if not isinstance(result, dict) or not isinstance(result.get("config_sha256"), str):
            raise ValueError("it is no result of a run")
        return result
    except (OSError, ValueError, RecursionError) as error:
        raise HypermnesiaError(f"{path} cannot be read ({error}); remove it to run again") from error


def seed_directories(directory: Path) -> list[Path]:
    """DIR/seed-K in the order of K; the directory itself if it is one."""
    if (directory / "config.toml").is_file():
        return [directory]
    found = [d for d in directory.glob("seed-*") if (d / "config.toml").is_file() and d.name[5:].isdigit()]
    if not found:
        raise HypermnesiaError(f"{directory} holds no run: expected seed-K/config.toml in it")
    return sorted(found, key=lambda d: int(d.name[5:]))


# ------------------------------------------------------------------------------------------------------ training


def _same_config(sha256: str, cfg: Config, directory: Path) -> None:
    if sha256 != cfg.sha256:
        raise HypermnesiaError(
            f"{directory} holds a run with another configuration ({sha256[:8]}, not {cfg.sha256[:8]}); "
            "give another --out, or remove it"
        )


def _prepare(cfg: Config, seed: int, place: Place) -> None:
    """Make the directory appear by one rename, with its configuration inside."""
    directory = place.directory
    if directory.exists():
        _same_config(saved_config(directory).sha256, cfg, directory)
        if environment_of(directory)["seed"] != seed:
            raise HypermnesiaError(f"{directory} holds a run with another seed; give another --out, or remove it")
        return
    fresh = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    try:
        fresh.mkdir(parents=True)
        (fresh / "config.toml").write_text(cfg.to_toml(), encoding="utf-8")
        about = environment(place.device) | {
            "seed": seed,
            "sealed": place.sealed,
            "data_dir": str(place.data_dir.resolve()) if place.data_dir else None,
        }
        (fresh / "environment.json").write_text(json.dumps(about, indent=1))
        os.replace(fresh, directory)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise HypermnesiaError(f"cannot create the run directory {directory}: {error.strerror or error}") from error


def _train(run: Fit, cfg: Config, seed: int, directory: Path, listener: Listener) -> dict:
    def report(text: str) -> None:
        print(f"hypermnesia: {directory.name}: {text}", file=sys.stderr)

    saves = directory / "checkpoint"
    extra = checkpoint.load(run, saves, report)
    log = EventLog(directory / "events.jsonl", extra["events"] if extra else 0)
    every = cfg.sections["checkpoint"].every
    last = time.monotonic()

    def save() -> None:
        checkpoint.save(run, saves, {"events": log.flush()})

    try:
        with _signals() as asked, contextlib.closing(log):
            for event in run:
                log.write(event)
                listener(event)
                at_end = isinstance(event, TaskEnded)
                if at_end or isinstance(event, StepDone) and (asked or time.monotonic() - last >= every):
                    save()
                    last = time.monotonic()
                    if asked:
                        raise Interrupted(asked[0], directory)
    except RunFailed as error:
        kept = sorted(saves.glob("*.json"))
        where = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint had been written yet"
        raise RunFailed(f"{error}; {where}") from error
    except OSError as error:
        raise RunFailed(f"{directory}: {error.strerror or error}; the run can be resumed from its last checkpoint") from error
    return write_result(run, cfg, seed, directory)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one kills as usual."""
    asked: list[int] = []
    old: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, old[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not the main thread: signals go to the program that runs us
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """One process per run directory; the second is told who has it."""
    with open(directory / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise HypermnesiaError(f"{directory} is in use by process {file.read().strip() or '?'}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class EventLog:
    """events.jsonl, cut back to the checkpoint's offset when a run resumes."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = open(path, "ab")  # noqa: SIM115 (closed by `close`)
        self._file.truncate(offset)
        self._file.seek(0, os.SEEK_END)
        self._began = time.time()

    def write(self, event: Event) -> None:
        """Append one event; of steps, one in `LOGGED_EVERY` and a phase's first and last."""
        if isinstance(event, StepDone) and not (event.step % LOGGED_EVERY == 0 or event.step in (1, event.steps)):
            return
        record = {"time": round(time.time(), 3)} | event_json(event)
        self._file.write((json.dumps(record, separators=(",", ":")) + "\n").encode())

    def flush(self) -> int:
        """Bring everything to disk; returns the file's length."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


_EVENT_NAMES: dict[type, str] = {
    TaskStarted: "task_started",
    StepDone: "step",
    Evaluated: "evaluated",
    TaskEnded: "task_ended",
    RunEnded: "run_ended",
}


def event_json(event: Event) -> dict[str, Any]:
    """An event as events.jsonl holds it."""
    if isinstance(event, StepDone):
        values = {
            "task": event.task,
            "phase": event.phase,
            "step": event.step,
            "steps": event.steps,
            "total_steps": event.total_steps,
            "loss": float(event.loss),
            "terms": {name: float(value) for name, value in event.terms.items()},
        }
    else:
        values = asdict(event)
    return {"event": _EVENT_NAMES[type(event)], **values}


# -------------------------------------------------------------------------------------------------------- results


def write_result(run: Fit, cfg: Config, seed: int, directory: Path) -> dict:
    """Write result.json (by rename) and return it."""
    result = result_of(run, cfg, seed)
    checkpoint.replace_file(directory / "result.json", json.dumps(result, indent=1, allow_nan=False).encode())
    return result


def result_of(run: Fit, cfg: Config, seed: int) -> dict:
    """The keys of result.json; see docs/files.md."""
    records, seen = run.records, seen_tests(run)
    result = {
        "format": FORMAT,
        "benchmark": cfg.benchmark,
        "approach": cfg.approach.name,
        "seed": seed,
        "config_sha256": cfg.sha256,
        "stream_sha256": run.tested_on.sha256,
        "scenarios": _scenarios(records.rows, records.baseline, seen),
        "costs": costs(run),
        "class_names": list(run.tested_on.class_names),
        "task_names": [task.name for task in run.tested_on.tasks],
    }
    if records.validation:
        result["validation"] = {"scenarios": _scenarios(records.validation, {}, seen)}
    if records.anytime:
        result["anytime"] = {
            name: metrics.anytime([row for _, _, row in found], [task for task, _, _ in found], seen)
            for name, found in records.anytime.items()
        }
    if records.confusion is not None:
        result["infer"] = {"confusion": records.confusion}
    return result | portrait(run)


def seen_tests(run: Fit) -> list[list[int]] | None:
    """For each task trained, the test parts whose classes have all been seen by its end; None for one part per task."""
    if tests_are_tasks(run.tested_on) and len(run.stream.tasks) == len(run.tested_on.tasks):
        return None
    seen: set[int] = set()
    found = []
    for task in run.stream.tasks:
        seen.update(task.classes)
        found.append([i for i, part in enumerate(run.tested_on.tests) if seen.issuperset(part.classes)])
    return found


def _scenarios(rows: Mapping[str, list], baseline: Mapping[str, list], seen: list | None) -> dict[str, dict]:
    return {name: metrics.summarise(matrix, baseline.get(name), seen) for name, matrix in rows.items()}


def costs(run: Fit) -> dict[str, float | int | None]:
    """What the run took and what it has to keep."""
    model = run.learner.model
    stored: Tensors = {}
    checkpoint.pack({"state": run.state, "inference": run.inference_state}, stored, "learner")
    for name, other in run.learner.models.items():
        stored |= {f"{name}.{key}": value for key, value in other.stored().items()}
    frozen = {f"target.{n}" for n, role in model.roles.items() if role in ("frozen", "added", "per_task")}
    parameters = {n: p for n, p in model.named_parameters() if not p.is_meta and n not in frozen}
    seconds, steps = run.records.seconds, run.records.steps
    return {
        "trainable_parameters": count(parameters),
        "target_parameters": count(dict(model.target.named_parameters())),
        "stored_bytes": num_bytes(stored),
        "train_seconds": seconds,
        "steps": steps,
        "steps_per_second": steps / seconds if seconds > 0 else None,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def summarise(directory: Path) -> dict:
    """Write DIR/summary.json over the finished seeds (and DIR/result.json when there is one) and return it."""
    results = [r for d in seed_directories(directory) if (r := read_result(d)) is not None]
    if not results:
        raise HypermnesiaError(f"{directory} holds no finished run yet")
    first = results[0]
    summary = {key: first[key] for key in ("benchmark", "approach", "config_sha256")}
    summary["seeds"] = [r["seed"] for r in results]
    summary["scenarios"] = _over_seeds([r["scenarios"] for r in results], skip=("matrix",))
    summary["costs"] = _over_seeds([r["costs"] for r in results])
    checkpoint.replace_file(directory / "summary.json", json.dumps(summary, indent=1, allow_nan=False).encode())
    if len(results) == 1:
        checkpoint.replace_file(directory / "result.json", json.dumps(first, indent=1, allow_nan=False).encode())
    elif (directory / "result.json").exists() and directory not in seed_directories(directory):
        (directory / "result.json").unlink()  # a copy of the only seed's result, and it is not the only one any more
    return summary


def _over_seeds(values: list[Any], skip: tuple[str, ...] = ()) -> Any:
    """Nested numbers of several seeds → the same tree with mean, std and 95 % interval at its leaves."""
    present = [v for v in values if v is not None]
    if not present:
        return None
    if isinstance(present[0], Mapping):
        keys = [key for key in present[0] if key not in skip]
        return {key: _over_seeds([v.get(key) for v in present], skip) for key in keys}
    return metrics.statistics([float(v) for v in present])


def environment(device: str) -> dict[str, Any]:
    """What a run depends on beside its configuration."""
    versions = {}
    for package in ("torch", "numpy", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "hypermnesia": __version__,
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
