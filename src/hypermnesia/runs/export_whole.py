"""The whole classifier as one program: raw samples in, class and probabilities out, the task inferred within."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import TextForm
from hypermnesia.experiments.features import backbone_of
from hypermnesia.methods.learner import Learner
from hypermnesia.nets.backbones import Backbone
from hypermnesia.runs.directory import saved_config
from hypermnesia.runs.execute import restored
from hypermnesia.runs.export import Exported, samples, traced, write

STEM = "classifier"
AGREE = 1e-4
"""Probabilities of the program and the learner may differ by so much, by rounding."""


class Classifier(nn.Module):
    """raw samples (B, …) → probabilities (B, classes), the answer's class (B,) and its task (B,), −1 where no task is
    inferred. Every task's weights are written once and part of it."""

    def __init__(self, learner: Learner, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.learner, self.backbone = learner, backbone
        self.networks = nn.ModuleList(learner.models.values())
        if backbone is not None and isinstance(backbone.net, nn.Module):
            self.body = backbone.net
        with torch.no_grad():
            self.overlays = [
                {name: value.clone() for name, value in overlay.items()} for overlay in learner.overlays()
            ]

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.backbone is not None:
            raw = self.backbone.pass_through(raw)
        found = self.learner.answer_at_once(raw, self.overlays)
        tasks = torch.full_like(found.classes, -1) if found.tasks is None else found.tasks
        return found.scores.softmax(1), found.classes, tasks


@torch.no_grad()
def export_classifier(directory: Path, out: Path | None = None, onnx: bool = False) -> Exported:
    """Write the classifier of the run in `directory` (DIR/seed-K) to the directory `out`, by default `directory`/export.

    Images go in as uint8, through the frozen network of a run on features, too. The program is compared with the learner
    before anything is written. Raises `HypermnesiaError` where `torch.export` (or ONNX, if `onnx`) cannot write it.
    """
    run = restored(directory)
    learner, stream, options = run.learner, run.tested_on, saved_config(directory).sections["stream"]
    if learner.task < 0:
        raise HypermnesiaError(f"{directory}: the last checkpoint has learned no task yet")
    if stream.target is not None:
        raise HypermnesiaError(
            f"{directory}: this run tells numbers, not classes; export a task's network: hypermnesia export DIR --task N"
        )
    backbone = backbone_of(options)
    raw = samples(stream)
    if backbone is not None:
        rng = torch.Generator().manual_seed(0)
        shape = (len(raw), 3, backbone.size, backbone.size)
        raw = torch.randint(256, shape, generator=rng, dtype=torch.uint8)
    for model in learner.models.values():
        model.eval()
    classifier = Classifier(learner, backbone)
    classifier(raw)  # constants that are made once must not be made while it is traced
    program = traced(classifier, raw)
    for size in (len(raw), 3):
        _check(directory, program, learner, backbone, raw[:size])
    shape = [int(n) for n in raw.shape[1:]]
    kind = {torch.uint8: "images", torch.int64: "tokens", torch.float32: "vectors, as they are"}[raw.dtype]
    about: dict[str, Any] = {
        "input": {"shape": shape, "dtype": str(raw.dtype).removeprefix("torch."), "what": kind},
        "outputs": [
            "probabilities (B, classes)",
            "class (B,)",
            "task from 0 (B,), -1 where none is inferred",
        ],
        "classes": list(stream.class_names),
        "learned": [stream.class_names[c] for c in learner.seen_classes],
        "tasks": [task.name for task in stream.tasks],
    }
    if raw.dtype == torch.int64:
        about["input"]["vocabulary"] = options.vocabulary or TextForm.vocabulary
    return write(out or directory / "export", STEM, program, about, onnx=onnx)


def _check(
    directory: Path,
    program: torch.export.ExportedProgram,
    learner: Learner,
    backbone: Backbone | None,
    raw: Tensor,
) -> None:
    """Raise unless the program says what the learner says."""
    expected = learner.answer(raw if backbone is None else backbone.features(raw))
    shares, classes, _ = program.module()(raw)
    wanted = expected.scores.softmax(1)
    close = torch.allclose(shares, wanted, atol=AGREE)
    sure = wanted.topk(min(2, wanted.shape[1])).values
    tied = (
        (sure[:, 0] - sure[:, -1]).abs() <= AGREE
        if sure.shape[1] > 1
        else torch.zeros(len(raw), dtype=torch.bool)
    )
    if not close or bool(((classes != expected.classes) & ~tied).any()):
        raise HypermnesiaError(
            f"{directory}: the exported program differs from the learner by up to {float((shares - wanted).abs().max()):.3g} "
            "of a probability; nothing was written"
        )
