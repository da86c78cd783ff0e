"""Runs that train as one program: who goes on with whom, and from where.

Their steps round differently than those of each run by itself, by how many they are and in which order. So who they are is
part of each one's state: every checkpoint names all of them, in order, they save after the same steps, and they go on from
the last checkpoint that all of them have.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypermnesia.core.errors import RunFailed
from hypermnesia.experiments.resolve import Config
from hypermnesia.runs.directory import Entry, Unusable, environment_of, exists, locked
from hypermnesia.runs.recorder import Interrupted, Listener, Recorder, asked_to_stop, recording
from hypermnesia.training import checkpoint
from hypermnesia.training.events import Event, StepDone, TaskEnded
from hypermnesia.training.loop import Fit
from hypermnesia.training.position import Abandoned
from hypermnesia.training.stacked import together

Listen = Callable[[Config, int, Path], contextlib.AbstractContextManager[Listener]]
"""(configuration, seed, DIR/seed-K) → what hears the events of that run, within a `with` block around it."""

KEY = "stack"
"""Where the directories stand in environment.json and beside a checkpoint's state, relative to the run's own parent."""


@dataclass(frozen=True)
class Together:
    """Runs that have to go on together."""

    directories: tuple[Path, ...]
    """In their order."""
    newest: str
    """Name of the last checkpoint that all of them have; empty where they begin anew."""


def names_of(directory: Path, directories: Sequence[Path]) -> list[str]:
    """The directories as the run in `directory` names them."""
    return [os.path.relpath(other.resolve(), directory.resolve().parent) for other in directories]


def begun_with(directory: Path, report: Callable[[str], None]) -> Together | None:
    """Whom the unfinished run in `directory` trains together with; None for a run that goes on by itself.

    Raises `Unusable` where one of them is not there any more; before their first checkpoint it may be still to come.
    """
    first = environment_of(directory).get(KEY)
    if first is None:
        return None
    for path, extra in checkpoint.extras(directory / "checkpoint"):
        others = _named(directory, extra)
        if not others:
            return None
        if all(_has(other, path.stem, others) for other in others):
            return Together(others, path.stem)
    others = _named(directory, {KEY: first})
    missing = [str(other) for other in others if not exists(other / "config.toml")]
    if missing and any(next(checkpoint.extras(other / "checkpoint"), None) for other in others):
        raise Unusable(
            f"{directory} trains as one program with {', '.join(missing)}, which is not there: bring it back, or remove "
            f"{directory} to run again"
        )
    if any(_went_on_without(directory, other) for other in others):
        report(
            "the runs that it trained together with went on without it: it goes on by itself, and rounds differently"
        )
        return None
    return Together(others, "")


def _named(directory: Path, saved: Mapping[str, Any]) -> tuple[Path, ...]:
    return tuple(directory.parent / name for name in saved.get(KEY) or ())


def _has(directory: Path, name: str, others: Sequence[Path]) -> bool:
    """Whether the run has this checkpoint, sound, and of training with these others."""
    path = directory / "checkpoint" / f"{name}.json"
    try:
        _, _, extra = checkpoint.read(path)
    except checkpoint.CheckpointError:
        return False
    return _same(_named(directory, extra), others)


def _went_on_without(directory: Path, other: Path) -> bool:
    newest = next(checkpoint.extras(other / "checkpoint"), None)
    if newest is None:
        return False
    return not any(_same([one], [directory]) for one in _named(other, newest[1]))


def _same(ours: Sequence[Path], theirs: Sequence[Path]) -> bool:
    return [path.resolve() for path in ours] == [path.resolve() for path in theirs]


# ---------------------------------------------------------------------------------------------------- training


class OneFailed(RunFailed):
    """One of several runs that trained together failed, and all stopped."""

    def __init__(self, error: RunFailed, entry: Entry, also: Sequence[Entry] = ()) -> None:
        """`also`: the others that failed at the same step."""
        super().__init__(str(error))
        self.entry, self.also = entry, tuple(also)


class LeftBehind(Exception):
    """All but one of several runs have been saved at the step where that one fails."""


@contextlib.contextmanager
def silent(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
    """Hears nothing."""
    yield lambda event: None


@dataclass
class _Rounds:
    """Saves of runs that train as one program, all after the same steps."""

    kept: Sequence[Recorder]
    saves: Sequence[Path]
    asked: Sequence[int]
    names: Sequence[Sequence[str]]
    """Of each run, how it names those that go on together."""
    complete: str
    """Name of the last checkpoint that all have."""
    without: frozenset[int] = frozenset()
    """Of these, those that the others leave behind …"""
    after: int = -1
    """… after this step of the run."""
    step: int = -1
    """The step that is being saved or not."""
    saving: bool = False
    stopping: bool = False
    saved: dict[str, set[int]] = field(default_factory=dict)

    def hear(self, i: int, event: Event) -> bool:
        """Write an event of run `i` down. True: all that go on have been saved, and are to stop."""
        self.kept[i].note(event)
        if isinstance(event, StepDone) and event.total_steps != self.step:
            self.step, self.stopping = event.total_steps, bool(self.asked)
            self.saving = event.total_steps == self.after or self.kept[i].due()
        leaving = self.step == self.after
        if not (isinstance(event, TaskEnded) or (isinstance(event, StepDone) and self.saving)):
            return False
        if leaving and i in self.without:
            return False
        return self._save(i, leaving) and (self.stopping or leaving) and isinstance(event, StepDone)

    def _save(self, i: int, leaving: bool) -> bool:
        """Save a run; whether all have this checkpoint now. The one before stays until the next that all have."""
        others = [name for j, name in enumerate(self.names[i]) if j not in self.without]
        more = {KEY: others if len(others) > 1 else []} if leaving else {}
        name = self.kept[i].save(keep=True, **more)
        found = self.saved.setdefault(name, set())
        found.add(i)
        if len(found) < len(self.kept) - (len(self.without) if leaving else 0):
            return False
        for directory in self.saves:
            checkpoint.drop(directory, before=self.complete)
        self.complete = name
        return True


def train(
    entries: Sequence[Entry],
    built: Sequence[Fit],
    listen: Listen,
    newest: str,
    without: frozenset[int] = frozenset(),
    after: int = -1,
) -> None:
    """Train the runs from the checkpoint `newest`, which all have; or until after step `after`, from where all but those
    of `without` can go on."""
    directories = [e.place.directory for e in entries]
    names = [names_of(directory, directories) for directory in directories]
    saves = [directory / "checkpoint" for directory in directories]
    with contextlib.ExitStack() as open_:
        asked = open_.enter_context(asked_to_stop(*built))
        kept = []
        for e, run, own in zip(entries, built, names, strict=True):
            directory = e.place.directory
            open_.enter_context(locked(directory))
            checkpoint.drop(directory / "checkpoint", after=newest)
            listener = open_.enter_context(listen(e.cfg, e.seed, directory))
            recorder = recording(run, e.cfg, e.seed, directory, listener, asked, newest, own)
            kept.append(open_.enter_context(recorder))
        rounds = _Rounds(kept, saves, asked, names, newest, without, after)
        try:
            for i, event in together(built):
                if rounds.hear(i, event):
                    raise Interrupted(asked[0], *directories) if rounds.stopping else LeftBehind
        except Abandoned as left:
            raise Interrupted(asked[0], *directories) from left
