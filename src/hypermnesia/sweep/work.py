"""Some jobs of a search done: what engines call, wherever that is."""

import base64
import math
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.locks import in_use
from hypermnesia.evaluation.event_lines import sound_lines
from hypermnesia.evaluation.schema import Damaged, Outcome, Search, read_record, seeds_in, write_record
from hypermnesia.experiments.resolve import from_toml
from hypermnesia.runs import recorder
from hypermnesia.runs.directory import Entry, Place
from hypermnesia.runs.execute import OneFailed, execute, execute_together
from hypermnesia.runs.results import read_figure
from hypermnesia.sweep.jobs import TRIAL_FILE, Job
from hypermnesia.training.events import Evaluated, Event

SEARCH_FILE = "search.json"
PATIENCE = 60.0
"""Seconds that a job waits for the process that had its run directory before: a lost one may still be dying."""


_MISNAMED = (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)


class _GivenUp(Exception):
    """The trial fell behind the median of the others."""


def work(jobs: Sequence[Job]) -> list[Outcome]:
    """The outcomes of the jobs. Runs finished before are recognised, others resumed. Trials train as one program where that
    can be done."""
    first = jobs[0]
    if first.threads is not None:
        torch.set_num_threads(first.threads)
    root = Path(first.root)
    here = _sees_the_sweep(root, first.sweep_id)
    # A name that a later attempt on this machine finds again.
    base = root if here else Path(tempfile.gettempdir()) / f"hypermnesia-{first.sweep_id}"
    stopped, seconds = _train_together(jobs, base) if len(jobs) > 1 else (None, 0.0)
    outcomes = []
    for job in jobs:
        directory = base / job.directory
        try:
            outcome = stopped or _done(job, directory, seconds)
            if not here and outcome.state != "interrupted":
                files = dict(_packed(directory, checkpoints=job.objective is None))
                shutil.rmtree(directory)
                outcome = outcome.model_copy(update={"files": files})
        except OSError as error:  # of the record, with nothing to do with the trial
            outcome = _disturbed(error, directory)
        outcomes.append(outcome)
    return outcomes


def _train_together(jobs: Sequence[Job], base: Path) -> tuple[Outcome | None, float]:
    """Train all runs of some trials as one program: (what to say of each if it was stopped, seconds for each).

    A trial that fails is left out, to tell its reason by itself; if anything else goes wrong, all go on one by one from
    their checkpoints.
    """
    started = time.monotonic()
    entries = []
    for job in jobs:
        data_dir = None if job.data_dir is None else Path(job.data_dir)
        for seed in job.seeds:
            place = Place(
                base / job.directory / f"seed-{seed}", data_dir, job.device, sealed=job.objective is not None
            )
            entries.append(Entry(from_toml(job.config), seed, place))
    try:
        while len(entries) > 1:
            try:
                execute_together(entries)
                break
            except OneFailed as error:
                if _machine_fault(error) is not None:
                    raise
                lost = {entry.place.directory.resolve().parent for entry in (error.entry, *error.also)}
                left = [entry for entry in entries if entry.place.directory.resolve().parent not in lost]
                if len(left) == len(entries):
                    raise  # the others cannot be parted from it
                entries = left
    except recorder.Interrupted as stopped:
        return Outcome(state="interrupted", reason=str(stopped)), 0.0
    except Exception as error:  # each trial by itself tells what is its own
        if (fault := _machine_fault(error)) is not None:
            return _disturbed(fault, base), 0.0
        kind = "" if isinstance(error, HypermnesiaError) else f"{type(error).__name__}: "
        reason = kind + str(error).partition("\n")[0]
        print(f"{len(jobs)} trials go on one by one: {reason}", file=sys.stderr)
    return None, (time.monotonic() - started) / len(jobs)


def _sees_the_sweep(root: Path, sweep_id: str) -> bool:
    try:
        return read_record(root / SEARCH_FILE, Search).id == sweep_id
    except Damaged:
        return False  # another disk, or another sweep on a disk of its own


def _packed(directory: Path, checkpoints: bool) -> Iterator[tuple[str, str]]:
    for path in sorted(directory.rglob("*")):
        kept = checkpoints or "checkpoint" not in path.relative_to(directory).parts
        if kept and path.is_file():
            yield path.relative_to(directory).as_posix(), base64.b64encode(path.read_bytes()).decode()


def _done(job: Job, directory: Path, seconds: float = 0.0) -> Outcome:
    """`seconds`: what has been spent on it in this attempt."""
    directory.mkdir(parents=True, exist_ok=True)
    record = directory / TRIAL_FILE
    try:
        earlier = read_record(record, Outcome).seconds
    except Damaged:
        earlier = 0.0  # the first attempt, or one that was killed
    started = time.monotonic()
    outcome = _attempt(job, directory)
    seconds += earlier + time.monotonic() - started
    outcome = outcome.model_copy(update={"seconds": seconds})
    if job.objective is not None:
        write_record(record, Outcome, outcome.model_dump())
        # Nothing goes on from these; a failed run's checkpoints may be looked into.
        if outcome.state in ("complete", "pruned"):
            for seed in seeds_in(directory):
                if (seed / "checkpoint").exists():
                    shutil.rmtree(seed / "checkpoint")
    return outcome


def _attempt(job: Job, directory: Path) -> Outcome:
    scores: list[float | None] = [None] * (job.tasks * len(job.seeds))
    try:
        return _run(job, directory, scores)
    except _GivenUp as given_up:
        return Outcome(state="pruned", reason=str(given_up), scores=tuple(scores))
    except recorder.Interrupted as stopped:
        return Outcome(state="interrupted", reason=str(stopped))
    except (torch.OutOfMemoryError, MemoryError) as error:
        return Outcome(state="failed", reason=f"out of memory: {error}", scores=tuple(scores))
    except Exception as error:  # whatever one trial's settings bring about must not stop the others
        if (fault := _machine_fault(error)) is not None:
            return _disturbed(fault, directory)
        if isinstance(error, HypermnesiaError):
            return Outcome(state="failed", reason=str(error), scores=tuple(scores))
        (directory / "failure.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return Outcome(state="failed", reason=f"{type(error).__name__}: {error}", scores=tuple(scores))
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what a trial leaves cached is lost to other workers on the same device


def _machine_fault(error: BaseException | None) -> OSError | None:
    """What the operating system refused, if that is what `error` comes from: a full disk, a lost connection, a directory
    that another process holds. What does not exist is the fault of whoever named it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return None if isinstance(error, _MISNAMED) else error
        error = error.__cause__
    return None


def _disturbed(fault: OSError, directory: Path) -> Outcome:
    where = f"{directory}" if fault.filename is None else f"{fault.filename}"
    return Outcome(state="interrupted", reason=f"{where}: {fault.strerror or fault}")


def _run(job: Job, directory: Path, scores: list[float | None]) -> Outcome:
    """Run all seeds; `scores` takes the accuracies as they come, also when this raises."""
    cfg, sealed = from_toml(job.config), job.objective is not None
    data_dir = None if job.data_dir is None else Path(job.data_dir)
    values: list[float] = []
    for turn, seed in enumerate(job.seeds):
        place = Place(directory / f"seed-{seed}", data_dir, job.device, sealed)
        first = turn * job.tasks
        for task, score in _logged_scores(place.directory / "events.jsonl", job):
            scores[first + task] = score
        _wait_until_free(place.directory)
        result = execute(cfg, seed, place, _judge(job, scores, first))
        if job.objective is not None:
            values.append(_value(result, job.objective, place.directory))
    return Outcome(state="complete", value=fmean(values) if values else None, scores=tuple(scores))


def _judge(job: Job, scores: list[float | None], first: int) -> Callable[[Event], None]:
    """Hears a run whose scores begin at `first`, notes them, and gives the trial up when one is below its bar."""

    def listen(event: Event) -> None:
        if not isinstance(event, Evaluated) or event.step is not None or not event.validation:
            return
        score = score_of(event.validation.get(job.scenario), event.task, job.tasks)
        at = first + event.task
        bar = job.bars[at] if job.bars else None
        scores[at] = score
        if score is not None and bar is not None and score < bar:
            raise _GivenUp(
                f"{score:.4f} after task {event.task + 1}, below the median {bar:.4f} of finished trials"
            )

    return listen


def _value(result: dict[str, Any], objective: str, directory: Path) -> float:
    if result["scenarios"]:
        raise RunFailed(f"{directory} holds test figures, which no trial may have; remove it")
    value = read_figure(result, objective)
    if value is None or not math.isfinite(value):
        raise RunFailed(f"{objective} is {'undefined' if value is None else value} on this stream")
    return value


def score_of(row: Sequence[float | None] | None, task: int, tasks: int) -> float | None:
    """Mean accuracy over the tasks learned so far, over all where the `tasks` were joined; None if none is known."""
    own = row or ()
    known = [value for value in (own[: task + 1] if len(own) == tasks else own) if value is not None]
    return fmean(known) if known else None


def _logged_scores(log: Path, job: Job) -> Iterator[tuple[int, float | None]]:
    """(task, score) of a seed's earlier attempt."""
    for line in sound_lines(log):
        if line["event"] == "evaluated" and line["step"] is None and line["validation"]:
            yield line["task"], score_of(line["validation"].get(job.scenario), line["task"], job.tasks)


def _wait_until_free(directory: Path) -> None:
    """Wait for a process that dies slowly; one that lives on is named by the error of `runs.execute`."""
    deadline = time.monotonic() + PATIENCE
    while in_use(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
