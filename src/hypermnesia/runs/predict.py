"""What a finished learner says to a user's own images."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Stream
from hypermnesia.data.sources.decode import decode, with_channels
from hypermnesia.data.sources.folder import by_class, files_in
from hypermnesia.data.sources.text import TextForm, tokenise
from hypermnesia.experiments.features import backbone_of
from hypermnesia.methods.learner import Answer
from hypermnesia.runs.directory import saved_config
from hypermnesia.runs.execute import restored
from hypermnesia.runs.export import check_task, is_joint
from hypermnesia.training.loop import Fit
from hypermnesia.weights.model import evaluating

AT_ONCE = 1000
"""Files that are decoded together."""


@dataclass(frozen=True)
class Prediction:
    """What the learner takes one image for."""

    image: Path
    task: int | None
    """The task (from 0) whose classes it was looked for in: the given or the inferred one; None: in all classes."""
    inferred: bool
    """Whether the task was guessed."""
    ranked: tuple[tuple[str, float], ...]
    """Class names with confidences in 0..1, the answer first."""
    strange: bool = False
    """Whether it is like none of the learned classes, as far as the run tells (`method.novel`)."""

    @property
    def answer(self) -> str:
        return self.ranked[0][0]

    def as_json(self) -> dict[str, Any]:
        """What `predict --json` writes; tasks count from 1."""
        (answer, confidence), task = self.ranked[0], None if self.task is None else self.task + 1
        return {
            "file": str(self.image),
            "answer": answer,
            "confidence": confidence,
            "task": task,
            "task_inferred": self.inferred,
            "none_of_these": self.strange,
            "classes": [{"name": name, "confidence": share} for name, share in self.ranked],
        }


@dataclass(frozen=True)
class ClassAccuracy:
    """How many files of a class were taken for it."""

    name: str
    files: int
    right: int
    mostly: tuple[str, int] | None
    """The class that most of the others were taken for, and how many; None if all are right."""


def evaluate(
    directory: Path, folder: Path, task: int | None = None, device: str = "cpu"
) -> list[ClassAccuracy]:
    """What the learner in `directory` (DIR/seed-K) makes of a folder with a sub-folder of files for each class.

    `task` and the errors as for `predict`; raises `HypermnesiaError` for sub-folders whose names are no classes of the run.
    """
    run = restored(directory, device)
    files = by_class(folder, run.tested_on.kind == "texts")
    unknown = [name for name in files if name not in run.tested_on.class_names]
    if unknown:
        raise HypermnesiaError(
            f"{folder} has class {unknown[0]!r}, which the run in {directory} has not learned; it knows: "
            f"{', '.join(run.tested_on.class_names)}"
        )
    found = _predicted(run, directory, [file for own in files.values() for file in own], task)
    scored = []
    for name, own in files.items():
        answers = [next(found).answer for _ in own]
        wrong = Counter(answer for answer in answers if answer != name).most_common(1)
        scored.append(ClassAccuracy(name, len(own), answers.count(name), wrong[0] if wrong else None))
    return scored


def predict(
    directory: Path, images: Sequence[Path], task: int | None = None, device: str = "cpu"
) -> list[Prediction]:
    """Classify files with the learner of the run in `directory` (DIR/seed-K), one prediction for each; of folders all
    images (or texts, where the run has learned texts) below them.

    Images are brought to the stream's shape: cut to a square, scaled, and turned to grey or colour. `task` (from 0):
    whose classes to look for; None infers it where the weights depend on it, and else looks for all classes seen.
    Confidences are the softmax of the network's outputs. Raises `HypermnesiaError` for images that are damaged, too
    large or of no known format, and for a task that was not learned.
    """
    run = restored(directory, device)
    return list(_predicted(run, directory, files_in(images, run.tested_on.kind == "texts"), task))


def _predicted(run: Fit, directory: Path, files: Sequence[Path], task: int | None) -> Iterator[Prediction]:
    """Some files at a time, so that a large folder fits into memory."""
    for start in range(0, len(files), AT_ONCE):
        chosen = files[start : start + AT_ONCE]
        answer = answered(run, read(directory, chosen, run.tested_on), task)
        tasks = [task] * len(chosen) if task is not None or answer.tasks is None else answer.tasks.tolist()
        strange = [False] * len(chosen) if answer.strange is None else answer.strange.tolist()
        ranked = _ranked(answer, run.tested_on.class_names)
        for file, t, order, odd in zip(chosen, tasks, ranked, strange, strict=True):
            yield Prediction(file, t, task is None and t is not None, order, odd)


def answered(run: Fit, raw: Tensor, task: int | None) -> Answer:
    """What the run's learner says of raw samples (N, …); `task` as for `predict`."""
    learner, stream = run.learner, run.tested_on
    if task is None:
        return learner.answer(raw)
    check_task(learner, stream, task)
    own = 0 if is_joint(learner, stream) else task
    return learner.answer(raw, own, stream.tasks[task].classes)


def numbers(run: Fit, raw: Tensor, task: int | None) -> Tensor:
    """(N,) the numbers that the run's learner tells of raw samples (N, …), in the target's own units. `task` (from 0): by whose
    weights; needed where these depend on the task. Raises `HypermnesiaError` for a task that was not learned."""
    learner, target = run.learner, run.tested_on.target
    assert target is not None
    if task is None and learner.model.depends_on_task and learner.task > 0:
        raise HypermnesiaError(
            f"the weights of this run depend on the task, and of numbers the task is not inferred: give task=0 to {learner.task}"
        )
    if task is not None:
        check_task(learner, run.tested_on, task)
    owner = learner.task if task is None else 0 if is_joint(learner, run.tested_on) else task
    with torch.no_grad(), evaluating(learner.model):
        overlay = learner.model.overlay(owner)
        found = [
            learner.model.call(overlay, learner.preprocess(part.to(learner.device), None), owner)[:, 0]
            for part in raw.split(AT_ONCE)
        ]
    return torch.cat(found).double() * target.std + target.mean


def read(directory: Path | None, files: Sequence[Path], stream: Stream) -> Tensor:
    """(N, *shape) of image files, or of text files where the run has learned texts; features of images where it has
    learned those."""
    if len(stream.shape) != 1:
        return read_images(files, stream.shape)
    if directory is None:
        raise HypermnesiaError(
            f"files are read as images where a run has learned images; this one has learned {stream.kind}: pass them as an array"
        )
    options = saved_config(directory).sections["stream"]
    if stream.kind == "texts":
        form = TextForm(stream.shape[0], options.vocabulary or TextForm.vocabulary)
        return tokenise(files, lambda i: str(files[i]), form)
    backbone = backbone_of(options)
    if backbone is None:
        raise HypermnesiaError(
            f"{directory}: this run has learned vectors of {stream.shape[0]} numbers; predict reads images and texts"
        )
    return backbone.features(decode(files, lambda i: str(files[i]), backbone.size))


def read_images(images: Sequence[Path], shape: Sequence[int]) -> Tensor:
    """uint8 (N, *shape) of image files, each brought to `shape` (C, H, W)."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise HypermnesiaError(
            f"this run's samples have the shape {tuple(shape)}; images cannot be brought to it"
        )
    channels, height, width = shape
    x = decode(images, lambda i: str(images[i]), height if height == width else None)
    if tuple(x.shape[2:]) != (height, width):
        had = f"{x.shape[3]}×{x.shape[2]}"
        raise HypermnesiaError(f"the images have {had} pixels; this run was trained on {width}×{height}")
    return with_channels(x, channels)


def _ranked(answer: Answer, names: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
    """For each sample the names of the classes that were looked for by confidence, the answer first whatever its own."""
    found = []
    shares, looked_for = answer.scores.softmax(1).tolist(), (answer.scores > -torch.inf).tolist()
    for row, there, first in zip(shares, looked_for, answer.classes.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (c != first, -row[c]))
        found.append(tuple((names[c], row[c]) for c in order if there[c] or c == first))
    return found
