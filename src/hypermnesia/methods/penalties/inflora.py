"""InfLoRA: a task's adapter reads only what earlier tasks do not use (Liang & Li 2024, arXiv:2404.00228)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.declared import Fraction
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.weights.hypernets.adapters import Adapters
from hypermnesia.weights.model import evaluating

CHUNK = 256
"""Samples in one pass."""


@dataclass(frozen=True)
class InfLoRAState:
    """What finished tasks use."""

    opaque: ClassVar[bool] = True
    """No loss reads them."""

    spaces: Tensors = field(default_factory=dict)
    """(in, k) float64 by the name of an adapted matrix: an orthonormal basis of the inputs that earlier tasks gave it."""


@dataclass(frozen=True, kw_only=True)
class InfLoRA(Penalty):
    """It designs V of each task's addition U Vᵀ, which then rests, and adds nothing to the loss.

    H = Σ x xᵀ over the inputs x that a matrix receives from the task's samples; V holds the first singular vectors of
    H − M Mᵀ H, over √3, M being a basis of what earlier tasks gave it. After the task M takes up so many singular vectors of
    H − M Mᵀ H that ‖M Mᵀ H‖² ≥ ε ‖H‖², ε going from `start` to `end` over the tasks. Directions in which nothing is left
    are 0. For `weights=lora written=summed`, since all tasks use the sum of all additions.

    Differences from the code: M is kept where that keeps its complement, once that is smaller; the first M has one vector
    more, so that it reaches ε.
    """

    name: ClassVar[str] = "inflora"

    start: Fraction = 0.95
    """ε of the first task, in 0..1."""
    end: Fraction = 1.0
    """ε that a task after the last one would have, in 0..1."""

    def init(self, learner: Learner) -> InfLoRAState:
        writer = learner.model.generator
        if not isinstance(writer, Adapters) or writer.sharing != "summed":
            raise HypermnesiaError(
                "inflora keeps a new adapter away from what earlier tasks use, and here adapters do not sum up: take "
                "weights=lora with weights.written=summed"
            )
        for name in writer.shapes:
            module = _owner(learner, name)
            if not isinstance(module, nn.Linear) and not _unfolds(module):
                raise HypermnesiaError(
                    f"inflora reads the inputs of linear layers and of 2D convolutions padded with zeros by number, and {name} "
                    f"belongs to {type(module).__name__}: choose others with weights.target"
                )
        writer.reads_rest = True
        return InfLoRAState()

    @torch.no_grad()
    def see_task(self, state: InfLoRAState, learner: Learner, task: Task) -> InfLoRAState:
        writer, seen = learner.model.generator, inputs_of(learner, task)
        assert isinstance(writer, Adapters)
        for rows, group in zip(writer.rows("down"), writer.groups, strict=True):
            for v, name in zip(rows[task.index], group, strict=True):
                basis, sizes, _ = torch.linalg.svd(_beside(seen[name], state.spaces.get(name)))
                left = sizes > torch.finfo(v.dtype).eps * torch.linalg.matrix_norm(seen[name])
                found = (basis * left)[:, : v.shape[1]] / 3**0.5
                v.zero_()[:, : found.shape[1]] = found.to(v)
        return state

    def value(self, net: Net, state: InfLoRAState, draw: None) -> None:
        return None

    @torch.no_grad()
    def end_task(
        self, state: InfLoRAState, learner: Learner, task: Task, rng: torch.Generator
    ) -> InfLoRAState:
        share = self.start + (self.end - self.start) * task.index / len(learner.classes)
        seen = inputs_of(learner, task)
        return replace(
            state, spaces={name: widened(state.spaces.get(name), h, share) for name, h in seen.items()}
        )


def widened(space: Tensor | None, h: Tensor, share: float) -> Tensor:
    """The basis `space` (in, k) with so many directions of `h` (in, in) more that it holds `share` of its squared norm."""
    beside = _beside(h, space)
    basis, sizes, _ = torch.linalg.svd(beside)
    total = h.square().sum().clamp_min(torch.finfo(h.dtype).tiny)
    held = 1 - sizes.square().sum() / total
    reached = torch.cat([held[None], held + sizes.square().cumsum(0) / total])
    more = int((reached < share * (1 - 1e-12)).sum())
    before = basis[:, :0] if space is None else space
    return torch.cat([before, basis[:, : min(more, len(h) - before.shape[1])]], 1)


def inputs_of(learner: Learner, task: Task) -> Tensors:
    """Σ x xᵀ (in, in) float64 by the name of an adapted matrix, over what the task's training samples bring to it."""
    model, found = learner.model, dict[str, Tensor]()
    assert model.generator is not None

    def keeps(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = _rows(module, given[0]).double()
            found[name] = found[name] + rows.mT @ rows if name in found else rows.mT @ rows

        return keep

    names = model.generator.shapes
    hooks = [_owner(learner, name).register_forward_pre_hook(keeps(name)) for name in names]
    try:
        with evaluating(model):
            for positions in torch.arange(len(task.train)).split(CHUNK):
                model(learner.preprocess(task.train.batch(positions)[0], None), task.index)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _beside(h: Tensor, space: Tensor | None) -> Tensor:
    """What of `h` (in, in) lies outside of `space` (in, k)."""
    return h if space is None else h - space @ (space.mT @ h)


def _owner(learner: Learner, name: str) -> nn.Module:
    return learner.model.target.get_submodule(name.rpartition(".")[0])


def _unfolds(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )


def _rows(module: nn.Module, x: Tensor) -> Tensor:
    """The vectors (n, in) that a layer's matrix is applied to: of a convolution its windows, of each group."""
    if isinstance(module, nn.Linear):
        return x.flatten(0, -2)
    assert isinstance(module, nn.Conv2d) and not isinstance(module.padding, str)
    windows = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)
    return windows.unflatten(1, (module.groups, -1)).mT.flatten(0, 2)
