"""Optimizers from options, and the step that one would take, without taking it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from hypermnesia.checks import check_choices, check_not_negative
from hypermnesia.errors import HypermnesiaError
from hypermnesia.tensors import Tensors

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How parameters move."""

    name: OptimizerName = "adam"
    """sgd, adam, adamw or rmsprop, as in torch.optim."""
    lr: float = 1e-3
    """Learning rate, > 0."""
    embedding_lr: float | None = None
    """Learning rate of task embeddings; none = `lr` (von Oswald et al. give them an optimizer of their own)."""
    momentum: float = 0.0
    """Of sgd and rmsprop, at least 0 and below 1."""
    nesterov: bool = False
    """Nesterov momentum (sgd)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two moments, at least 0 and below 1."""
    weight_decay: float = 0.0
    """L2 penalty (decoupled for adamw), ≥ 0."""
    reset: Literal["task", "never"] = "task"
    """Whether moments start anew with each task. With `never`, Adam's old moments would go on moving nothing but
    what still trains: rows of finished tasks leave the optimizer in both cases."""
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    """Learning rate within a task: constant, half a cosine to 0, or times `gamma` at each milestone."""
    milestones: tuple[float, ...] = ()
    """Fractions of a task (0..1) at which `schedule=steps` multiplies the rate by `gamma`."""
    gamma: float = 0.1
    """Factor of `schedule=steps`, ≥ 0."""

    def __post_init__(self) -> None:
        check_choices(self, "optimizer")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise HypermnesiaError(f"optimizer.lr={self.lr} must be a positive number")
        if self.embedding_lr is not None and not self.embedding_lr > 0:
            raise HypermnesiaError(f"optimizer.embedding_lr={self.embedding_lr} must be positive")
        check_not_negative("optimizer.weight_decay", self.weight_decay)
        check_not_negative("optimizer.gamma", self.gamma)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise HypermnesiaError(f"optimizer.betas={list(self.betas)}: each must be at least 0 and below 1")
        if not all(0 <= milestone <= 1 for milestone in self.milestones):
            raise HypermnesiaError(
                f"optimizer.milestones={list(self.milestones)} must be fractions of a task, 0..1"
            )
        if not 0 <= self.momentum < 1:
            raise HypermnesiaError(f"optimizer.momentum={self.momentum} must be at least 0 and below 1")
        if self.nesterov and self.momentum == 0:
            raise HypermnesiaError("optimizer.nesterov=true needs optimizer.momentum above 0")

    @property
    def apart(self) -> bool:
        """Whether task embeddings have a learning rate of their own."""
        return self.embedding_lr not in (None, self.lr)

    def factor(self, progress: float) -> float:
        """What the learning rate is multiplied by at `progress` (0..1) of a task."""
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        if self.schedule == "steps":
            return self.gamma ** sum(progress >= m for m in self.milestones)
        return 1.0


def build(options: OptimizerOptions, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """A torch optimizer over named parameters; task embeddings form a group of their own if they have their own rate.

    Each group carries the `names` of its parameters and the `base_lr` that schedules multiply.
    """
    embeddings = {n: p for n, p in parameters.items() if options.apart and ".embeddings." in n}
    groups = []
    for members, lr in (
        ({n: p for n, p in parameters.items() if n not in embeddings}, options.lr),
        (embeddings, options.embedding_lr),
    ):
        if members:
            groups.append({"params": list(members.values()), "lr": lr, "base_lr": lr, "names": list(members)})
    if not groups:
        raise HypermnesiaError(
            "there is nothing to train: every parameter is frozen or belongs to an earlier task"
        )
    lr, decay = options.lr, options.weight_decay
    if options.name == "sgd":
        on_gpu = any(parameter.is_cuda for parameter in parameters.values())
        # On a CPU the fused kernel is slower than a loop over parameters, unless there is momentum.
        fused = on_gpu or options.momentum > 0
        return torch.optim.SGD(
            groups,
            lr,
            options.momentum,
            weight_decay=decay,
            nesterov=options.nesterov,
            foreach=False,
            fused=fused,
        )
    if options.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr, weight_decay=decay, momentum=options.momentum, foreach=True)
    kind = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return kind(groups, lr, options.betas, weight_decay=decay, fused=True)


def carry_over(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Give the new optimizer the old one's state of every parameter that both move (`reset=never`)."""
    for group in new.param_groups:
        for parameter in group["params"]:
            if parameter in old.state:
                new.state[parameter] = old.state[parameter]


def laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` with the strides of `parameter`: itself where it has them, else a copy."""
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def clipped(gradients: Tensors, most: float | None) -> Tensors:
    """The gradients, scaled down if the norm of all of them together exceeds `most`; none = as they are."""
    if most is None or not gradients:
        return gradients
    factor = (most / (torch.nn.utils.get_total_norm(list(gradients.values())) + 1e-6)).clamp(max=1)
    return {name: g * factor for name, g in gradients.items()}


def set_progress(optimizer: torch.optim.Optimizer, options: OptimizerOptions, progress: float) -> None:
    """Set the learning rates for `progress` (0..1) of the task."""
    factor = options.factor(progress)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


class Reads(NamedTuple):
    """What an optimizer's step reads beside the gradients, by name or by group; nested, without the optimizer itself."""

    values: Tensors
    """The parameters."""
    states: dict[str, dict[str, Any]]
    """Moments and counters."""
    rates: list[Tensor]
    """Learning rate of each group."""
    others: list[dict[str, Any]]
    """Each group's other settings and its `names`."""


def reads(optimizer: torch.optim.Optimizer) -> Reads:
    """What `candidate` needs, for graphs that are recorded once: what changes from step to step is a tensor."""
    values: Tensors = {}
    states, rates, others = {}, [], []
    for group in optimizer.param_groups:
        rates.append(torch.tensor(group["lr"], dtype=torch.float64, device=group["params"][0].device))
        others.append({key: value for key, value in group.items() if key not in ("params", "lr", "base_lr")})
        for name, parameter in zip(group["names"], group["params"], strict=True):
            values[name], states[name] = parameter.detach(), dict(optimizer.state.get(parameter, {}))
    return Reads(values, states, rates, others)


def candidate(
    optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor], given: Reads | None = None
) -> Tensors:
    """The change Δθ that the optimizer would make with these gradients, by name; it and its state stay untouched.

    Differentiable in the gradients, so a second-order look-ahead may pass gradients that carry a graph. Covers
    weight decay (which the published code forgets for Adam). Parameters without a gradient do not move. `given` stands for
    what the optimizer holds.
    """
    change: Tensors = {}
    for i, group in enumerate(optimizer.param_groups):
        settings = group if given is None else {**given.others[i], "lr": given.rates[i]}
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name not in gradients:
                continue
            if given is None:
                value, state = parameter.detach(), optimizer.state.get(parameter, {})
                if "step" in state and not value.is_cuda:  # cheaper than arithmetic on tensors of one number
                    state = {**state, "step": float(state["step"])}
            else:
                value, state = given.values[name], given.states[name]
            change[name] = _change(optimizer, settings, value, gradients[name], state)
    return change


def _change(
    optimizer: torch.optim.Optimizer, group: dict, parameter: Tensor, g: Tensor, state: dict
) -> Tensor:
    if isinstance(optimizer, torch.optim.SGD):
        return _sgd_change(group, parameter, g, state)
    if isinstance(optimizer, torch.optim.RMSprop):
        return _rmsprop_change(group, parameter, g, state)
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is a subclass with decoupled decay
        return _adam_change(group, parameter, g, state)
    raise HypermnesiaError(
        f"no look-ahead for {type(optimizer).__name__}; there are: SGD, RMSprop, Adam, AdamW"
    )


def _sgd_change(group: dict, parameter: Tensor, g: Tensor, state: dict) -> Tensor:
    g = g + group["weight_decay"] * parameter
    momentum = group["momentum"]
    if momentum:
        buffer = state.get("momentum_buffer")
        velocity = g if buffer is None else momentum * buffer + (1 - group["dampening"]) * g
        g = g + momentum * velocity if group["nesterov"] else velocity
    return -group["lr"] * g


def _root(square: Tensor) -> Tensor:
    """√square with the derivative 0 at 0, where a look-ahead of second order would else be 0 · ∞ for every number whose
    gradients were all 0 so far."""
    if not square.requires_grad:
        return square.sqrt()
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def _rmsprop_change(group: dict, parameter: Tensor, g: Tensor, state: dict) -> Tensor:
    g = g + group["weight_decay"] * parameter
    square = state.get("square_avg", torch.zeros_like(parameter))
    square = group["alpha"] * square + (1 - group["alpha"]) * g.square()
    direction = g / (_root(square) + group["eps"])
    if group["momentum"]:
        direction = group["momentum"] * state.get("momentum_buffer", torch.zeros_like(parameter)) + direction
    return -group["lr"] * direction


def _adam_change(group: dict, parameter: Tensor, g: Tensor, state: dict) -> Tensor:
    decay, lr, (beta1, beta2) = group["weight_decay"], group["lr"], group["betas"]
    if not group["decoupled_weight_decay"]:
        g = g + decay * parameter
    step = state.get("step", 0.0)
    step = (step.double() if isinstance(step, Tensor) else step) + 1
    zero = torch.zeros_like(parameter)
    mean = beta1 * state.get("exp_avg", zero) + (1 - beta1) * g
    square = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * g.square()
    direction = (mean / (1 - beta1**step)) / (_root(square / (1 - beta2**step)) + group["eps"])
    change = -lr * direction
    return change - lr * decay * parameter if group["decoupled_weight_decay"] else change
