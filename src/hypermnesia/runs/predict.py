"""What a finished learner says to a user's own images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data.sources.decode import decode, with_channels
from hypermnesia.data.sources.text import TextForm, tokenise
from hypermnesia.runs.directory import saved_config
from hypermnesia.runs.execute import restored
from hypermnesia.runs.export import check_task
from hypermnesia.training.loop import Fit
from hypermnesia.weights.model import evaluating

_BATCH = 256


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

    @property
    def answer(self) -> str:
        return self.ranked[0][0]


def predict(
    directory: Path, images: Sequence[Path], task: int | None = None, device: str = "cpu"
) -> list[Prediction]:
    """Classify image or text files with the learner of the run in `directory` (DIR/seed-K), one prediction for each.

    Images are brought to the stream's shape: cut to a square, scaled, and turned to grey or colour. `task` (from 0):
    whose classes to look for; None infers it where the weights depend on it, and else looks for all classes seen.
    Confidences are the softmax of the network's outputs. Raises `HypermnesiaError` for images that are damaged, too
    large or of no known format, and for a task that was not learned.
    """
    run = restored(directory, device)
    if task is not None:
        check_task(run, task)
    if run.tested_on.kind == "vectors":
        raise HypermnesiaError(
            f"{directory}: this run has learned vectors of {run.tested_on.shape[0]} numbers; predict reads images and texts"
        )
    raw = _read(directory, images, run.tested_on.shape)
    learner, found = run.learner, []
    with torch.no_grad(), evaluating(learner.model):
        overlays = [learner.model.overlay(t) for t in range(learner.task + 1)]
        for part in raw.split(_BATCH):
            x = learner.preprocess(part.to(learner.device), None)
            found += _given(run, x, task, overlays) if task is not None else _unknown(run, x, overlays)
    return [
        Prediction(image, t, task is None and t is not None, ranked)
        for image, (t, ranked) in zip(images, found, strict=True)
    ]


def _read(directory: Path, files: Sequence[Path], shape: Sequence[int]) -> Tensor:
    """(N, *shape) of image files, or of text files where the run has learned texts."""
    if len(shape) != 1:
        return read_images(files, shape)
    vocabulary = saved_config(directory).sections["stream"].vocabulary or TextForm.vocabulary
    return tokenise(files, lambda i: str(files[i]), TextForm(shape[0], vocabulary))


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


_Ranked = tuple[int | None, tuple[tuple[str, float], ...]]


def _given(run: Fit, x: Tensor, task: int, overlays: Sequence[Tensors]) -> list[_Ranked]:
    """The task is known: its own classes."""
    learner = run.learner
    weights_of = min(task, learner.task) if learner.model.depends_on_task else learner.task
    scores = _scores(run, x, weights_of, overlays)
    classes = run.tested_on.tasks[task].classes
    places = learner.targets(torch.tensor(classes, device=x.device), weights_of)
    return [(task, _ranked(run, row[places], classes)) for row in scores]


def _unknown(run: Fit, x: Tensor, overlays: Sequence[Tensors]) -> list[_Ranked]:
    """The task is inferred where the weights depend on it; else all classes seen so far are looked for."""
    learner = run.learner
    if not learner.model.depends_on_task or len(overlays) == 1:
        classes = learner.seen_classes
        places = learner.targets(torch.tensor(classes, device=x.device), learner.task)
        return [(None, _ranked(run, row[places], classes)) for row in _scores(run, x, learner.task, overlays)]
    guess = run.inference.scores(run.inference_state, learner, overlays, x)
    found: list[_Ranked] = []
    for i, (task, local) in enumerate(zip(guess.guess.tolist(), guess.local.tolist(), strict=True)):
        assert learner.model.head is not None
        outputs = learner.model.head.outputs(task)
        scores = _scores(run, x[i : i + 1], task, overlays)[0]
        found.append((task, _ranked(run, scores, outputs, local)))
    return found


def _scores(run: Fit, x: Tensor, task: int, overlays: Sequence[Tensors]) -> Tensor:
    """(B, active outputs of `task`): the method's own scores, or logits."""
    own = run.method.scores(run.state, run.learner, x, task)
    return run.learner.model.call(overlays[task], x, task) if own is None else own


def _ranked(
    run: Fit, scores: Tensor, classes: Sequence[int], answer: int | None = None
) -> tuple[tuple[str, float], ...]:
    """Class names by confidence; `answer`, a position in `classes`, comes first whatever its confidence.

    Outputs that stand for no class (−1, see `weights.head_width`) have a share, and no name.
    """
    shares = scores.float().softmax(0).tolist()
    named = [i for i, cls in enumerate(classes) if cls >= 0]
    order = sorted(named, key=lambda i: (i != answer, -shares[i]))
    return tuple((run.tested_on.class_names[classes[i]], shares[i]) for i in order)
