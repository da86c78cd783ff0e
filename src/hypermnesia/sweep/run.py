"""One search from its words to its winner, which is run on test with seeds that the search has not seen."""

import json
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.evaluation.schema import FORMAT, Damaged, Result, Search, read_record, write_record
from hypermnesia.experiments.recipes import Recipe
from hypermnesia.runs.directory import locked, read_result
from hypermnesia.runs.execute import summarise
from hypermnesia.sweep.engines.base import Engine
from hypermnesia.sweep.engines.local import Local
from hypermnesia.sweep.plan import Plan, SweepOptions, plan
from hypermnesia.sweep.record import SweepResult
from hypermnesia.sweep.storage import check_storage, open_storage, storage_fault
from hypermnesia.sweep.trials import Driver, InFlight
from hypermnesia.sweep.work import SEARCH_FILE

TOGETHER = 10
"""Trials that a worker trains as one program, at most."""
_EMPTY = {"logs", "lock"}
"""What the directory of a search that was killed at its very start may hold."""
Listener = Callable[[SweepResult], None]


class Stopped(HypermnesiaError):
    """A search that was asked to stop; its trials have saved themselves."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the search was stopped by {signal.Signals(number).name}; the same command goes on with it"
        )
        self.exit_code = 128 + number


def sweep(
    benchmark: str,
    approach: str,
    words: Sequence[str],
    out: Path | str | None = None,
    *,
    options: SweepOptions | None = None,
    engine: Engine | None = None,
    recipe: Recipe | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    listener: Listener = lambda result: None,
    stack: bool = False,
) -> SweepResult:
    """Search for the best settings of `approach` on `benchmark`, then run them on test with fresh seeds.

    `words`: what varies (`hypermnesia.sweep.space`) and what is fixed. `out`: the sweep's directory, below runs/ by
    default; the same search that is there already goes on. `engine`: `Local` by default. `recipe`: published
    settings, and the published grid, to start from. `storage`: a database that several machines share, each with an
    `out` of its own. `listener` hears the sweep as it stands, several times a second. `stack`: each worker trains several
    trials as one program where they differ in nothing but numbers of the loss and learning rates (see `training.stacked`);
    their results are equal but for rounding. Not in a search whose trials depend on earlier ones.

    The result's `final` is None if `options.final_seeds` is 0, or if other machines still have trials in hand.

    Raises `HypermnesiaError` for bad input and unreachable services before anything starts, `Stopped` after SIGINT or
    SIGTERM, and `RunFailed` when there is no winner. A trial that fails raises nothing: its record says why.
    """
    engine = engine or Local()
    engine.check()
    if storage is not None:
        check_storage(storage)
    chosen = plan(benchmark, approach, words, options or SweepOptions(), recipe, data_dir)
    root = chosen.default_directory if out is None else Path(out)
    _same_search(root, chosen)
    if stack and chosen.adaptive:
        raise HypermnesiaError(
            "--stack auto is for searches whose trials do not wait for each other: a grid, or "
            "--algorithm random --no-prune"
        )
    database = None if storage is None else open_storage(storage, root)
    engine.open(root)
    with engine, _told(root):
        _make(root)
        with locked(root), _signals() as asked:
            sweep_id = _identity(root, chosen)
            trials = open_storage(None, root) if database is None else database
            owner = None if database is None else f"{socket.gethostname()}:{root.resolve()}"
            return _run(
                chosen,
                trials,
                owner,
                InFlight(engine, root, sweep_id, data_dir, device, TOGETHER if stack else 1),
                root,
                asked,
                listener,
            )


def _run(
    chosen: Plan,
    storage: Any,
    owner: str | None,
    jobs: InFlight,
    root: Path,
    asked: list[int],
    listener: Listener,
) -> SweepResult:
    from hypermnesia.sweep.study import Numbered, Search

    sampler = Numbered(chosen.algorithm, chosen.space, chosen.problem.options.seed)
    name = f"hypermnesia {chosen.sha256[:16]}"
    search = Search(storage, name, chosen.space, sampler, chosen.objective.maximise, owner)
    _check_record(root, search.count())
    driver = Driver(chosen, search, jobs, root)
    result = SweepResult(
        root,
        chosen.problem.benchmark,
        chosen.problem.approach,
        chosen.objective.path,
        chosen.objective.maximise,
        chosen.space,
        chosen.problem.options.protocol,
        chosen.algorithm,
        chosen.trials,
        (),
    )

    def show() -> None:
        nonlocal result
        trials = tuple(t for t in search.records(driver.outcomes) if t.number < chosen.trials)
        if trials != result.trials:
            result = replace(result, trials=trials)
            result.write()
        listener(result)
        if asked:
            raise Stopped(asked[0])

    driver.run(show)
    if chosen.problem.options.final_seeds and not search.others_running():
        result = replace(result, final=run_winner(chosen, jobs, root, result, show))
        result.write()
        listener(result)
    return result


# ------------------------------------------------------------------------------------------------- the directory


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HypermnesiaError(f"cannot create {root}: {error.strerror or error}") from error


def _saved(root: Path) -> Search | None:
    path = root / SEARCH_FILE
    if not path.exists():
        return None
    try:
        return read_record(path, Search)
    except Damaged as error:
        raise HypermnesiaError(f"{path} cannot be used ({error}); give another --out") from error


def _same_search(root: Path, chosen: Plan) -> None:
    """Raise if `root` holds anything but this very search."""
    saved = _saved(root)
    if saved is not None:
        ours, theirs = json.loads(json.dumps(chosen.identity())), saved.search
        differ = [
            f"{key} is {theirs.get(key)!r} there, {ours[key]!r} now"
            for key in ours
            if theirs.get(key) != ours[key]
        ]
        if differ:
            raise HypermnesiaError(f"{root} holds another search: {'; '.join(differ)}; give another --out")
    elif root.exists() and not (root.is_dir() and {path.name for path in root.iterdir()} <= _EMPTY):
        raise HypermnesiaError(f"{root} exists and holds no search; give another --out")


def _check_record(root: Path, known: int) -> None:
    """Raise if a trial has been run here that the record, which knows `known`, has lost."""
    run = [int(path.name) for path in (root / "trials").glob("*") if path.name.isdecimal()]
    if run and max(run) >= known:
        raise HypermnesiaError(
            f"{root}/trials/{max(run):04d} is there, and the search's record knows {known} trials only; restore it, or "
            "search anew with another --out"
        )


def _identity(root: Path, chosen: Plan) -> str:
    """The name by which workers know the directory; made with the first start."""
    saved = _saved(root)
    if saved is not None:
        return saved.id
    sweep_id = secrets.token_hex(8)
    search = {"format": FORMAT, "id": sweep_id, "search": chosen.identity()}
    write_record(root / SEARCH_FILE, Search, search)
    return sweep_id


@contextmanager
def _told(root: Path) -> Iterator[None]:
    """Errors of the disk, and of the database, within the block as one message."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has gone; the disk is sound
    except OSError as error:
        raise RunFailed(
            f"{error.filename or root}: {error.strerror or error}; that mended, the same command goes on with the search"
        ) from error
    except Exception as error:
        if (fault := storage_fault(error)) is None:
            raise
        raise RunFailed(
            f"the record of the trials: {fault}; that mended, the same command goes on with the search"
        ) from error


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM; a second one acts as usual."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals go to the program that runs us
        return
    old: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, old[number])

    for number in old:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def run_winner(
    plan: Plan, jobs: InFlight, root: Path, result: SweepResult, show: Callable[[], None]
) -> dict[str, Any]:
    """Run the best trial's settings on test in `root`/final/NNNN and return `final` of sweep.json.

    What the search cost is written into every result as `search`. Raises `RunFailed` when no trial was completed, or
    none of these runs.
    """
    best = result.best
    if best is None:
        reason = next((t.reason for t in result.trials if t.reason), "there was none")
        raise RunFailed(f"no trial was completed, so there is no winner; the first reason: {reason}")
    directory = f"final/{best.number:04d}"
    cfg = plan.problem.final(best.settings)
    jobs.start({seed: jobs.job(directory, cfg, [seed]) for seed in plan.problem.options.fresh_seeds})
    failed: dict[int, str] = {}
    while jobs:
        for seed, outcome in jobs.finished():
            if outcome.state != "complete":
                failed[seed] = outcome.reason or outcome.state
        show()
    seeds = [seed for seed in plan.problem.options.fresh_seeds if seed not in failed]
    if not seeds:
        raise RunFailed(f"trial {best.number} won, and none of its runs on test succeeded: {failed}")
    cost = result.cost()
    for seed in seeds:
        _record(root / directory / f"seed-{seed}", cost)
    summary = summarise(root / directory)
    return {
        "trial": best.number,
        "settings": best.settings,
        "directory": directory,
        "seeds": summary["seeds"],
        "failed": {str(seed): reason for seed, reason in failed.items()},
        "scenarios": {
            name: {figure: value["mean"] for figure, value in figures.items()}
            for name, figures in summary["scenarios"].items()
        },
        "search": cost,
    }


def _record(directory: Path, cost: dict[str, Any]) -> None:
    """Note in a run's result what it took to find its settings."""
    result = read_result(directory)
    if result is None:
        raise RunFailed(f"{directory} was reported complete and holds no result")
    write_record(directory / "result.json", Result, {**result, "search": cost})
