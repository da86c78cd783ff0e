"""What a finished learner looks like inside, for reports: embeddings, masks, memory."""

import base64
import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hypermnesia.combined import CombinedState
from hypermnesia.fit import Fit
from hypermnesia.memory import Memory

PICTURES = 40
"""Remembered images that are shown."""


def portrait(run: Fit) -> dict[str, Any]:
    """The optional keys of result.json that describe the learner: `embeddings`, `masks`, `memory`."""
    found: dict[str, Any] = {}
    model = run.learner.model
    if model.generator is not None and len(model.generator.embeddings):
        found["embeddings"] = [e.detach().flatten().tolist() for e in model.generator.embeddings]
    if "masked" in model.roles.values():
        found["masks"] = _masks(run)
    state = run.state.method if isinstance(run.state, CombinedState) else run.state
    memory = getattr(state, "memory", None)
    if isinstance(memory, Memory) and memory.filled:
        found["memory"] = _memory(memory, run)
    return found


@torch.no_grad()
def _masks(run: Fit) -> dict[str, Any]:
    """Share of zeros by tensor and task, and how far two tasks' surviving entries coincide (intersection ÷ union)."""
    model = run.learner.model
    names = [name for name, role in model.roles.items() if role == "masked"]
    own = dict(model.target.named_parameters())
    alive: dict[str, list[Tensor]] = {name: [] for name in names}
    for task in range(model.num_tasks):
        written = model.written([task])
        for name in names:  # a weight that is 0 without its θ being 0 was masked away
            alive[name].append((written[name][0] != 0) | (own[name] == 0))
    sparsity = {name: [1 - float(a.float().mean()) for a in masks] for name, masks in alive.items()}
    flat = [torch.cat([alive[name][t].flatten() for name in names]) for t in range(model.num_tasks)]
    overlap = [[float((a & b).sum() / (a | b).sum().clamp(min=1)) for b in flat] for a in flat]
    return {"sparsity": sparsity, "overlap": overlap}


def _memory(memory: Memory, run: Fit) -> dict[str, Any]:
    names = run.tested_on.class_names
    classes, counts = torch.unique(memory.y[: memory.filled], return_counts=True)
    found: dict[str, Any] = {
        "classes": {names[c]: n for c, n in zip(classes.tolist(), counts.tolist(), strict=True)}
    }
    if memory.x.dtype == torch.uint8 and memory.x.dim() == 4 and memory.x.shape[1] in (1, 3):
        order = torch.argsort(memory.y[: memory.filled], stable=True)
        picks = order[torch.linspace(0, len(order) - 1, min(PICTURES, len(order))).long()]
        found["images"] = [_png(memory.x[i]) for i in picks.tolist()]
    return found


def _png(x: Tensor) -> str:
    """A uint8 image (C, H, W) as base64 of a PNG file."""
    pixels = x.cpu().numpy()
    image = Image.fromarray(pixels[0]) if pixels.shape[0] == 1 else Image.fromarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
