"""The drift penalty: what a generator writes for earlier tasks stays where it was (von Oswald et al. 2019, eq. 2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, vmap

from hypermnesia import tensors
from hypermnesia.errors import HypermnesiaError
from hypermnesia.hyper import drift
from hypermnesia.hyper.model import Model, evaluating
from hypermnesia.method import Batch, Learner, Net, Penalty
from hypermnesia.nets.stages import classifier
from hypermnesia.streams import Task
from hypermnesia.tensors import Tensors


@dataclass(frozen=True)
class DriftState:
    """What the earlier tasks' weights are compared with; empty in the first task."""

    form: str = "direct"
    """`gram` or `direct`, chosen at each task's start."""
    anchor: Tensors | None = None
    """gram: `drift.snapshot` of the generator's factors. direct: the stored targets, (k, *shape) by name."""
    generator: Tensors | None = None
    """direct with recomputed targets: the generator's parameters at the task's start."""
    masks: Tensors | None = None
    """(k, output units) by name: which units of a wide output layer each task uses."""
    fisher: Tensors | None = None
    """(tasks, *shape) by name: Fisher information of each finished task's weights, if asked for."""


@dataclass(frozen=True, kw_only=True)
class Drift(Penalty):
    """β · mean over earlier tasks j of ‖h(e_j; θ) − h(e_j*; θ*)‖², θ* and e* being those at the task's start.

    The squared norm runs over all generated scalars and is not divided by their number, so β depends on the size of
    the target (`reduction="mean"` divides). It is evaluated without building the weights where that is cheaper; see
    `hypermnesia.hyper.drift`.
    """

    name: ClassVar[str] = "drift"

    beta: float = 0.01
    """Strength β ≥ 0. Published: 0.01 (Split MNIST) to 0.1 (Permuted MNIST); λ = 0.5 for partial hypernetworks."""
    look_ahead: Literal["none", "optimizer", "sgd"] = "none"
    """Evaluate at θ + Δθ: the step that the optimizer (von Oswald et al.) or plain SGD (Hemati et al.) would make
    with the method's own gradient. none = at θ, where a task's first step feels no penalty."""
    look_ahead_lr: float = 1e-3
    """Learning rate of `look_ahead=sgd`, > 0."""
    second_order: bool = False
    """Whether the look-ahead differentiates through Δθ."""
    tasks_per_step: int | None = None
    """At most so many earlier tasks, drawn anew each step, instead of all: the mean over them is unbiased."""
    over_tasks: Literal["mean", "sum", "reference"] = "mean"
    """mean over the tasks compared; sum (eq. 7 of Hemati et al.); reference = the mean divided by the number of
    earlier tasks once more, as HyperMask's code does, so that protection fades as 1/t²."""
    reduction: Literal["sum", "mean"] = "sum"
    """Whether squared distances are summed over a task's weights (published) or averaged."""
    scales: tuple[float, ...] = ()
    """Factor of each earlier task's distance, in task order; tasks beyond the list have 1."""
    mask_heads: bool = True
    """With a sliced head: leave out rows of the output layer that belong to other tasks."""
    form: Literal["auto", "gram", "direct"] = "auto"
    """How it is computed, with equal results: gram never builds the weights, direct does; auto = the cheaper."""
    targets: Literal["stored", "recomputed"] = "stored"
    """direct: keep the earlier tasks' weights, or the old generator to write them again each step. Equal results."""
    fisher: bool = False
    """Weigh each squared difference by the Fisher information of that weight on its task (direct form)."""
    fisher_samples: int = 200
    """Samples of a task for its Fisher information, ≥ 1."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the gram form's large products; their factors are differences, so bf16 costs little accuracy."""
    holds: str = "main"
    """Which of the learner's models is held."""

    def __post_init__(self) -> None:
        if not (self.beta >= 0 and math.isfinite(self.beta)):
            raise HypermnesiaError(f"drift.beta={self.beta} must be a number of at least 0")
        if not self.look_ahead_lr > 0:
            raise HypermnesiaError(f"drift.look_ahead_lr={self.look_ahead_lr} must be above 0")
        for name in ("tasks_per_step", "fisher_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HypermnesiaError(f"drift.{name}={value} must be at least 1")
        if self.second_order and self.look_ahead == "none":
            raise HypermnesiaError("drift.second_order=true needs drift.look_ahead=optimizer or sgd")
        if self.fisher and self.form == "gram":
            raise HypermnesiaError("drift.fisher=true needs drift.form=direct or auto: it does not factor")

    def ahead(self) -> Literal["optimizer"] | float | None:
        if self.look_ahead == "sgd":
            return self.look_ahead_lr
        return "optimizer" if self.look_ahead == "optimizer" else None

    def through_ahead(self) -> bool:
        return self.second_order

    def init(self, learner: Learner) -> DriftState:
        if learner.models[self.holds].generator is None:
            raise HypermnesiaError("the drift penalty needs generated weights; leave it out with drift=none")
        return DriftState()

    @torch.no_grad()
    def begin_task(self, state: DriftState, learner: Learner) -> DriftState:
        """Take the snapshot that this task's steps are held to."""
        earlier = range(learner.task)
        if not earlier or self.beta == 0:
            return DriftState(fisher=state.fisher)
        model = learner.models[self.holds]
        assert model.generator is not None
        factors = model.generator(earlier, factored=True)
        masks = self._masks(model, len(earlier), learner.device)
        form = self._form(factors)
        if form == "gram":
            dtype = torch.bfloat16 if self.precision == "bf16" else None
            return DriftState(form, drift.snapshot(factors, masks, dtype), masks=masks)
        if self.targets == "recomputed":
            old = tensors.copy(dict(model.generator.named_parameters()))
            return DriftState(form, generator=old, masks=masks, fisher=state.fisher)
        return DriftState(form, tensors.copy(model.generator.assemble(factors)), masks=masks, fisher=state.fisher)

    def draw(self, state: DriftState, learner: Learner, batch: Batch, rng: torch.Generator) -> tuple[int, ...]:
        """The earlier tasks that this step compares."""
        if self.tasks_per_step is None or self.tasks_per_step >= learner.task:
            return tuple(range(learner.task))
        return tuple(sorted(torch.randperm(learner.task, generator=rng)[: self.tasks_per_step].tolist()))

    def value(self, net: Net, state: DriftState, draw: tuple[int, ...]) -> Tensor | None:
        if state.anchor is None and state.generator is None:
            return None
        generator = net.model.generator
        assert generator is not None
        chosen = None if len(draw) == net.model.num_tasks - 1 else torch.tensor(draw)
        distances = self._distances(net, state, draw, chosen)
        if self.scales:
            factors = [self.scales[j] if j < len(self.scales) else 1.0 for j in draw]
            distances = distances * torch.tensor(factors, device=distances.device)
        total = distances.mean()
        earlier = net.model.num_tasks - 1
        if self.over_tasks != "mean":
            total = total * earlier if self.over_tasks == "sum" else total / earlier
        if self.reduction == "mean":
            total = total / sum(shape.numel() for shape in generator.shapes.values())
        return self.beta * total

    def _distances(self, net: Net, state: DriftState, tasks: Sequence[int], chosen: Tensor | None) -> Tensor:
        """(T,) squared distances of the compared tasks."""
        if state.form == "gram":
            assert state.anchor is not None
            factors = net.generate(tasks, factored=True)
            assert isinstance(factors, list)
            return drift.gram(factors, state.anchor, chosen)
        now, then = net.generate(tasks), self._targets(net.model, state, tasks, chosen)
        assert isinstance(now, dict)
        picked = [
            None if some is None else {n: v[chosen] if chosen is not None else v[: len(tasks)] for n, v in some.items()}
            for some in (state.masks, state.fisher)
        ]
        return drift.direct(now, then, masks=picked[0], fisher=picked[1])

    def _targets(self, model: Model, state: DriftState, tasks: Sequence[int], chosen: Tensor | None) -> Tensors:
        if state.anchor is not None:
            return state.anchor if chosen is None else {name: value[chosen] for name, value in state.anchor.items()}
        assert state.generator is not None and model.generator is not None
        with torch.no_grad():
            return functional_call(model.generator, state.generator, (tasks,))

    def _form(self, factors: list) -> str:
        if self.fisher:
            return "direct"
        return drift.choose(factors) if self.form == "auto" else self.form

    def _masks(self, model: Model, tasks: int, device: torch.device) -> Tensors | None:
        """Which output units each earlier task uses, where one wide layer serves all."""
        if not self.mask_heads or model.head is None or model.head.kind != "sliced" or model.generator is None:
            return None
        layer, shapes = classifier(model.target), model.generator.shapes
        names = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in shapes]
        units = [range(*model.head.columns(t).indices(model.head.width)) for t in range(tasks)]
        masks = drift.unit_masks(units, names, shapes) if names else {}
        return {name: mask.to(device) for name, mask in masks.items()} or None

    def end_task(self, state: DriftState, learner: Learner, task: Task, rng: torch.Generator) -> DriftState:
        if not self.fisher:
            return state
        new = _fisher(learner, learner.models[self.holds], task, self.fisher_samples, rng)
        held = state.fisher or {name: value.new_zeros(0, *value.shape) for name, value in new.items()}
        grown = {name: torch.cat([held[name], value[None]]) for name, value in new.items()}
        return DriftState(state.form, state.anchor, state.generator, state.masks, grown)


def _fisher(learner: Learner, model: Model, task: Task, samples: int, rng: torch.Generator) -> Tensors:
    """Diagonal empirical Fisher information of the task's written weights: mean squared per-sample gradient, by name."""
    generator = model.generator
    assert generator is not None
    with evaluating(model):
        overlay = {name: value.detach() for name, value in model.overlay(task.index).items()}
        written = {name: overlay[name] for name in generator.shapes}

        def loss(weights: Tensors, x: Tensor, target: Tensor) -> Tensor:
            """Of one sample: x (…), target (); vmap adds the axis of samples."""
            return F.cross_entropy(model.call(overlay | weights, x[None], task.index), target[None])

        part = task.train
        chosen = torch.randperm(len(part), generator=rng)[:samples]
        total = tensors.zeros_like(written)
        for positions in chosen.split(max(1, min(64, 2**24 // tensors.count(written)))):
            raw, y = part.batch(positions)
            x, targets = learner.preprocess(raw, None), learner.targets(y, task.index)
            gradients = vmap(grad(loss), in_dims=(None, 0, 0))(written, x, targets)
            for name, g in gradients.items():
                total[name] += g.square().sum(0) / len(chosen)
    return total
