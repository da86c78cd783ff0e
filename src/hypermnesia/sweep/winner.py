"""The end of a search: its winner is run on test, with seeds that the search has not seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypermnesia import runs
from hypermnesia.errors import RunFailed
from hypermnesia.sweep.inflight import InFlight
from hypermnesia.sweep.plan import Plan
from hypermnesia.sweep.record import SweepResult, write_json


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
    summary = runs.summarise(root / directory)
    return {
        "trial": best.number,
        "settings": best.settings,
        "directory": directory,
        "seeds": seeds,
        "failed": {str(seed): reason for seed, reason in failed.items()},
        "scenarios": {
            name: {figure: value["mean"] for figure, value in figures.items()}
            for name, figures in summary["scenarios"].items()
        },
        "search": cost,
    }


def _record(directory: Path, cost: dict[str, Any]) -> None:
    """Note in a run's result what it took to find its settings."""
    result = runs.read_result(directory)
    if result is None:
        raise RunFailed(f"{directory} was reported complete and holds no result")
    write_json(directory / "result.json", {**result, "search": cost})
