"""A finished run without some of its classes, as if it had never seen them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.runs import bound
from hypermnesia.runs.directory import (
    Place,
    Unusable,
    create,
    environment_of,
    path_safe,
    saved_config,
    seed_directories,
)
from hypermnesia.runs.execute import Listen, execute, run_of, silent, summarise
from hypermnesia.runs.learn import first_checkpoint
from hypermnesia.runs.recorder import reporter
from hypermnesia.training import checkpoint
from hypermnesia.training.loop import Fit, Position

CHUNK = 1000


@dataclass(frozen=True)
class Unlearned:
    """What came of `unlearn`."""

    directory: Path
    """The new run."""
    classes: tuple[str, ...]
    samples: int
    """Training samples that were taken out, of one seed."""
    summary: dict[str, Any]


def unlearn(
    directory: Path,
    classes: Sequence[str],
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    listen: Listen = silent,
) -> Unlearned:
    """Take `classes` (by name) out of the finished run in `directory` (DIR or DIR/seed-K), as a new run in `out`.

    The classes' training samples are read once more and their sums subtracted; sums are exact, so what is left is what a
    run without them has, to the last bit. `out`: by default DIR without what is after its name, `DIR-without-CLASSES`;
    `directory` stays as it is. Raises `HypermnesiaError` for classes that the run has not learned, and for methods that
    cannot take anything out.
    """
    if not classes:
        raise HypermnesiaError("name the classes to take out: hypermnesia unlearn DIR CLASS...")
    target = out or directory.with_name(f"{directory.name}-without-{path_safe('-'.join(classes))[:80]}")
    if target.exists():
        raise Unusable(f"{target} exists already; give another --out, or remove it")
    taken = 0
    for seed in seed_directories(directory):
        about = environment_of(seed)
        place = data_dir or (Path(about["data_dir"]) if about.get("data_dir") else None)
        new = Place(target / f"seed-{about['seed']}", place, device)
        cfg = saved_config(seed)
        run = run_of(cfg, about["seed"], Place(seed, place, device))
        report = reporter(seed)
        if checkpoint.load(run, seed / "checkpoint", report, bound.check(seed, report)) is None or (
            run.position.task < len(run.stream.tasks)
        ):
            raise Unusable(f"{seed} is not finished; go on with: hypermnesia resume {seed}")
        taken = _forget(run, classes)
        more = {"unlearned": list(classes)} | {key: about[key] for key in ("continues",) if key in about}
        create(
            cfg,
            about["seed"],
            new,
            run,
            more,
            lambda fresh, run=run, seed=seed: first_checkpoint(fresh, run, seed),
        )
        with listen(cfg, about["seed"], new.directory) as listener:
            execute(cfg, about["seed"], new, listener)
    return Unlearned(target, tuple(classes), taken, summarise(target))


def _forget(run: Fit, classes: Sequence[str]) -> int:
    """Take the classes' samples out of the run's learner, and bring it to just before its last evaluation."""
    learner, names = run.learner, run.tested_on.class_names
    for name in classes:
        if name not in names:
            raise unknown("class", name, names)
    ids = torch.tensor([names.index(name) for name in classes])
    taken = 0
    for task in run.stream.tasks:
        chosen = torch.isin(task.train.y.cpu(), ids).nonzero().flatten()
        for positions in chosen.split(CHUNK):
            raw, y = task.train.batch(positions)
            learner.state = run.method.forget(learner.state, learner, learner.preprocess(raw, None), y)
            taken += len(positions)
    if not taken:
        raise HypermnesiaError(f"the run has no samples of {', '.join(classes)} to take out")
    run.position = Position(task=len(run.stream.tasks) - 1, started=True, ended=True)
    for rows in (*run.records.rows.values(), *run.records.validation.values()):
        del rows[-1]
    return taken
