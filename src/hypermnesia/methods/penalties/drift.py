"""The drift penalty: what a generator writes for earlier tasks stays where it was (von Oswald et al. 2020, eq. 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from hypermnesia.core import tensors
from hypermnesia.core.declared import Count, NotNegative, Positive
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.fitting import likelihood
from hypermnesia.core.rng import some
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Batch, Learner, Net, WeightRequest
from hypermnesia.nets.stages import classifier
from hypermnesia.weights.distance import forms
from hypermnesia.weights.hypernets.base import Generator, full_precision, without_noise
from hypermnesia.weights.hypernets.factors import Factor, split, take
from hypermnesia.weights.hypernets.layers import TaskRows
from hypermnesia.weights.model import Model, evaluating


@dataclass(frozen=True)
class DriftState:
    """What the earlier tasks' weights are compared with; empty in the first task."""

    form: str = "direct"
    """`gram` or `direct`, chosen at each task's start."""
    anchor: Tensors | None = None
    """gram: `drift.snapshot` of the generator's factors. direct: the stored targets, (k, *shape) by name."""
    generator: Tensors | None = None
    """With recomputed targets: the generator's parameters at the task's start."""
    masks: Tensors | None = None
    """(k, output units) by name: which units of a wide output layer each task uses."""
    fisher: Tensors | None = None
    """(tasks, *shape) by name: Fisher information of each finished task's weights, if asked for."""


@dataclass(frozen=True, kw_only=True)
class Drift(Penalty):
    """β · mean over earlier tasks j of ‖h(e_j; θ) − h(e_j*; θ*)‖², θ* and e* being those at the task's start.

    The squared norm runs over all generated scalars and is not divided by their number, so β depends on the size of
    the target (`reduction="mean"` divides). It is evaluated without building the weights where that is cheaper; see
    `hypermnesia.weights.distance.forms`.
    """

    name: ClassVar[str] = "drift"
    tells_numbers: ClassVar[bool] = True

    beta: NotNegative = 0.01
    """Strength β ≥ 0. Published: 0.01 (Split MNIST) to 0.1 (Permuted MNIST); λ = 0.5 for partial hypernetworks."""
    look_ahead: Literal["none", "optimizer", "sgd"] = "none"
    """Evaluate at θ + Δθ: the step that the optimizer (von Oswald et al.) or plain SGD (Hemati et al.) would make
    with the method's own gradient. none = at θ, where a task's first step feels no penalty."""
    look_ahead_lr: Positive | None = None
    """Learning rate of `look_ahead=sgd`, > 0; none = the optimizer's of that moment (published)."""
    second_order: bool = False
    """Whether the look-ahead differentiates through Δθ."""
    tasks_per_step: Count | None = None
    """At most so many earlier tasks, drawn anew each step, instead of all: the mean over them is unbiased."""
    over_tasks: Literal["mean", "sum", "reference"] = "mean"
    """mean over the tasks compared; sum (eq. 7 of Hemati et al.); reference = the mean divided by the number of
    earlier tasks once more, as HyperMask's code does, so that protection fades as 1/t²."""
    reduction: Literal["sum", "mean"] = "sum"
    """Whether squared distances are summed over a task's weights (published) or averaged."""
    scales: tuple[NotNegative, ...] = ()
    """Factor ≥ 0 of each earlier task's distance, in task order; tasks beyond the list have 1."""
    mask_heads: bool = True
    """With a sliced head: leave out rows of the output layer that belong to other tasks."""
    form: Literal["auto", "gram", "direct"] = "auto"
    """How it is computed, with equal results: gram never builds the weights, direct does; auto = the cheaper."""
    targets: Literal["auto", "stored", "recomputed"] = "auto"
    """What earlier tasks are compared with: kept, or written again each step by the old generator, whose memory does
    not grow with tasks. Equal results; auto = recomputed with `tasks_per_step`."""
    fisher: bool = False
    """Weigh each squared difference by the Fisher information of that number on its task (direct form); for masks and
    additions it is that of what the generator writes."""
    fisher_samples: Count = 200
    """Samples of a task for its Fisher information, ≥ 1."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the gram form's large products; their factors are differences, so bf16 costs little accuracy."""
    holds: str = "main"
    """Which of the learner's models is held."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.second_order and self.look_ahead == "none":
            raise HypermnesiaError("drift.second_order=true needs drift.look_ahead=optimizer or sgd")
        if self.fisher and self.form == "gram":
            raise HypermnesiaError("drift.fisher=true needs drift.form=direct or auto: it does not factor")

    def ahead(self) -> Literal["optimizer", "sgd"] | float | None:
        if self.look_ahead == "sgd" and self.look_ahead_lr is not None:
            return self.look_ahead_lr
        return None if self.look_ahead == "none" else self.look_ahead

    def through_ahead(self) -> bool:
        return self.second_order

    def init(self, learner: Learner) -> DriftState:
        if self.holds not in learner.models:
            raise unknown("model to hold", self.holds, learner.models)
        if learner.models[self.holds].generator is None:
            raise HypermnesiaError("the drift penalty needs generated weights; leave it out with drift=none")
        return DriftState()

    @torch.no_grad()
    def begin_task(self, state: DriftState, learner: Learner) -> DriftState:
        """Take the snapshot that this task's steps are held to."""
        earlier = range(learner.task)
        if not earlier or self.beta == 0:
            return DriftState(fisher=state.fisher)
        model, dtype = learner.models[self.holds], torch.bfloat16 if self.precision == "bf16" else None
        generator = model.generator
        assert generator is not None
        factors, written = _with_current(generator, None, learner.task, earlier)
        masks = self._masks(model, len(earlier), learner.device)
        form = self._form(take(factors, slice(0, self.tasks_per_step)))
        held = DriftState(form, masks=masks, fisher=state.fisher)
        if self._recomputes:
            held = replace(held, generator=tensors.copy(dict(generator.named_parameters())))
        if form == "gram":
            return replace(held, anchor=forms.snapshot(factors, masks, dtype, inputs=not self._recomputes))
        return held if self._recomputes else replace(held, anchor=tensors.copy(written()))

    @property
    def _recomputes(self) -> bool:
        return self.targets == "recomputed" or (self.targets == "auto" and self.tasks_per_step is not None)

    def draw(
        self, state: DriftState, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> tuple[int, ...]:
        """The earlier tasks that this step compares."""
        return tuple(some(learner.task, self.tasks_per_step, rng))

    def reads(self, state: DriftState, draw: tuple[int, ...]) -> WeightRequest | None:
        return WeightRequest(draw, factored=state.form == "gram") if self._holds(state) else None

    def value(self, net: Net, state: DriftState, draw: tuple[int, ...]) -> Tensor | None:
        if not self._holds(state):
            return None
        earlier = net.model.num_tasks - 1
        weights = None
        if self.scales:
            factors = [self.scales[j] if j < len(self.scales) else 1.0 for j in draw]
            device = next(iter(net.params.values())).device
            weights = torch.stack(
                [torch.as_tensor(own, device=device) for own in factors]
            )  # in a stack they are tensors
        chosen = None if len(draw) == earlier else torch.tensor(draw)
        generator = net.model.generator
        assert generator is not None
        with full_precision(generator):  # the distances are small differences: autocast would drown them
            total = self._distance(net, state, draw, chosen, weights)
        share = {"mean": 1.0, "sum": float(earlier), "reference": 1 / earlier}[self.over_tasks]
        if self.reduction == "mean":
            share /= sum(shape.numel() for shape in generator.shapes.values())
        return total * (self.beta * share / len(draw))

    @staticmethod
    def _holds(state: DriftState) -> bool:
        return state.anchor is not None or state.generator is not None

    def _distance(
        self, net: Net, state: DriftState, tasks: Sequence[int], chosen: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        """The weighted sum of the compared tasks' squared distances."""
        now = net.generate(tasks, factored=state.form == "gram")
        then = self._written_again(net.model, state, tasks)
        if isinstance(now, list):
            assert state.anchor is not None
            return forms.gram(now, state.anchor, chosen, weights, then)
        masks, fisher, stored = (
            None
            if held is None
            else {n: v[: len(tasks)] if chosen is None else v[chosen] for n, v in held.items()}
            for held in (state.masks, state.fisher, state.anchor)
        )
        targets = then or stored
        assert targets is not None
        distances = forms.direct(now, targets, masks, fisher)
        return distances.sum() if weights is None else (weights * distances).sum()

    def _written_again(self, model: Model, state: DriftState, tasks: Sequence[int]) -> Any:
        """What the generator of the task's start writes for `tasks`, where that was not kept: tensors or factors."""
        if state.generator is None:
            return None
        assert model.generator is not None
        with torch.no_grad():
            factors, written = _with_current(model.generator, state.generator, model.num_tasks - 1, tasks)
            return factors if state.form == "gram" else written()

    def _form(self, factors: list) -> str:
        if self.fisher:
            return "direct"
        return forms.choose(factors) if self.form == "auto" else self.form

    def _masks(self, model: Model, tasks: int, device: torch.device) -> Tensors | None:
        """Which output units each earlier task uses, where one wide layer serves all."""
        if (
            not self.mask_heads
            or model.head is None
            or model.head.kind != "sliced"
            or model.generator is None
        ):
            return None
        layer, shapes = classifier(model.target), model.generator.shapes
        names = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in shapes]
        units = [range(*model.head.columns(t).indices(model.head.width)) for t in range(tasks)]
        masks = forms.unit_masks(units, names, shapes) if names else {}
        return {name: mask.to(device) for name, mask in masks.items()} or None

    def end_task(self, state: DriftState, learner: Learner, task: Task, rng: torch.Generator) -> DriftState:
        if not self.fisher:
            return state
        new = _fisher(learner, learner.models[self.holds], task, self.fisher_samples, rng)
        held = state.fisher or {name: value.new_zeros(0, *value.shape) for name, value in new.items()}
        grown = {name: torch.cat([held[name], value[None]]) for name, value in new.items()}
        return DriftState(state.form, state.anchor, state.generator, state.masks, grown)


def _with_current(
    generator: Generator, params: Tensors | None, current: int, tasks: Sequence[int]
) -> tuple[list[Factor], Callable[[], Tensors]]:
    """What is written for `tasks`, as factors and (by calling) as tensors, in one pass with the current task.

    Every step makes that pass, and passes over other lists of tasks round differently. `params`: at these
    parameters; None = the generator's own.
    """
    together = [current, *tasks]
    read = _read_for(generator, params or {}, together)
    with without_noise(generator):
        factors = functional_call(generator, read, (together, True), tie_weights=False)
    return (
        split(factors, [1, len(tasks)])[1],
        lambda: {name: value[1:] for name, value in generator.assemble(factors).items()},
    )


def _read_for(generator: Generator, params: Tensors, tasks: Sequence[int]) -> Tensors:
    """`params` without other tasks' rows: exchanging a thousand embeddings takes longer than the rest of the step."""
    rows = tuple(f"{name}." for name, part in generator.named_modules() if isinstance(part, TaskRows))
    wanted = {str(task) for task in tasks}
    return {n: v for n, v in params.items() if not n.startswith(rows) or n.rpartition(".")[2] in wanted}


def _fisher(learner: Learner, model: Model, task: Task, samples: int, rng: torch.Generator) -> Tensors:
    """Diagonal empirical Fisher information of what is written for the task: mean squared per-sample gradient, by name.

    Of h itself, through whatever stands between it and the weights: for masks (∂L/∂w · ∂(θ ⊙ m)/∂h)², since h is what
    the penalty compares. Constants: no graph leads from here to shared parameters or to θ.
    """
    generator = model.generator
    assert generator is not None
    with evaluating(model), torch.no_grad():  # which `grad` below does not heed
        written = {name: value[0] for name, value in generator([task.index]).items()}

        def loss(written: Tensors, x: Tensor, target: Tensor) -> Tensor:
            """Of one sample: x (…), target (); vmap adds the axis of samples."""
            overlay = model.overlay(task.index, {name: value[None] for name, value in written.items()})
            return likelihood(target)(model.call(overlay, x[None], task.index), target[None])

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
