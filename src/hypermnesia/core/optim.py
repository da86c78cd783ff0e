"""Optimizers from options, and the step that one would take, without taking it."""

# pyright: reportPrivateImportUsage=false
# torch exports its kernels for lists of tensors without saying so.

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Fraction, Natural, NotNegative, Positive, Probability, check_options
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How parameters move."""

    name: OptimizerName = "adam"
    """sgd, adam, adamw or rmsprop, as in torch.optim."""
    lr: Positive = 1e-3
    """Learning rate, > 0."""
    embedding_lr: Positive | None = None
    """Learning rate of task embeddings; none = `lr` (von Oswald et al. give them an optimizer of their own)."""
    momentum: Probability = 0.0
    """Of sgd and rmsprop, at least 0 and below 1."""
    nesterov: bool = False
    """Nesterov momentum (sgd)."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """Decay rates of Adam's two moments, at least 0 and below 1."""
    weight_decay: NotNegative = 0.0
    """L2 penalty (decoupled for adamw), ≥ 0."""
    reset: Literal["task", "never", "table"] = "task"
    """Whether moments start anew with each task. With `never`, Adam's old moments would go on moving nothing but
    what still trains: rows of finished tasks leave the optimizer in both cases. `table` (adam, adamw): as never, and a
    new task's rows join with moments 0 at the step count of all others, as rows of one table for all tasks do, whose
    first steps are about three times as long (Avalanche 0.4 with embeddings of one module)."""
    schedule: Literal["constant", "cosine", "steps", "plateau"] = "constant"
    """Learning rate within a task: constant, half a cosine to 0, times `gamma` at each milestone, or times `gamma` when
    validation accuracy has stalled (HyperMask on CIFAR-100 and Tiny ImageNet: gamma 0.316)."""
    milestones: tuple[Fraction, ...] = ()
    """Fractions of a task (0..1) at which `schedule=steps` multiplies the rate by `gamma`."""
    gamma: NotNegative = 0.1
    """Factor of `schedule=steps` and `plateau`, ≥ 0."""
    patience: Natural = 5
    """Looks at the validation part (`train.look_every`) without a better accuracy that `schedule=plateau` bears, ≥ 0."""

    def __post_init__(self) -> None:
        check_options(self, "optimizer")
        if self.reset == "table" and self.name not in ("adam", "adamw"):
            raise HypermnesiaError(
                f"optimizer.reset=table is about Adam's count of steps, which {self.name} does not have: take "
                "optimizer.name=adam or adamw, or optimizer.reset=never"
            )
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


CLASSES: dict[Any, OptimizerName] = {
    torch.optim.SGD: "sgd",
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adamw",
    torch.optim.RMSprop: "rmsprop",
}


def options_of(given: object) -> OptimizerOptions:
    """The options that `given` stands for: themselves, None for the defaults, or a class of `torch.optim` with its own
    defaults, or a `functools.partial` of one with others. Raises `HypermnesiaError`, saying what to write, for anything else.
    """
    if given is None or isinstance(given, OptimizerOptions):
        return given or OptimizerOptions()
    kind, said = (given.func, given.keywords) if isinstance(given, partial) else (given, {})
    ours = {f.name for f in fields(OptimizerOptions)} - {"name"}
    if isinstance(given, torch.optim.Optimizer):
        group = {key: value for key, value in given.defaults.items() if key in ours}
        example = ", ".join(f"{key}={group[key]!r}" for key in ("lr", "momentum") if group.get(key))
        name = CLASSES.get(type(given), "adam")
        raise HypermnesiaError(
            f"optimizer: a {type(given).__name__} holds the parameters that a model has now, and models grow with each task: "
            f'write OptimizerOptions(name="{name}", {example})'
        )
    if not (isinstance(kind, type) and kind in CLASSES) or set(said) - ours:
        odd = f" with {', '.join(sorted(set(said) - ours))}" if set(said) - ours else ""
        raise HypermnesiaError(
            f"optimizer={getattr(kind, '__name__', repr(kind))}{odd}: expected "
            'OptimizerOptions(name="sgd", lr=0.1), whose names are sgd, adam, adamw and rmsprop, or a class of torch.optim '
            "of these"
        )
    defaults = {p.name: p.default for p in inspect.signature(kind).parameters.values()} | said
    return OptimizerOptions(name=CLASSES[kind], **{k: v for k, v in defaults.items() if k in ours})


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


def carry_over(old: torch.optim.Optimizer, new: torch.optim.Optimizer, table: bool = False) -> None:
    """Give the new optimizer the old one's state of every parameter that both move (`reset=never`).

    `table`: all others get moments 0 at the longest step count there is (`reset=table`).
    """
    steps = [state["step"] for state in old.state.values() if "step" in state] if table else []
    for group in new.param_groups:
        for parameter in group["params"]:
            if parameter in old.state:
                new.state[parameter] = old.state[parameter]
            elif steps:
                zero = torch.zeros_like(parameter, requires_grad=False)
                latest = max(steps, key=float).clone()
                new.state[parameter] = {"step": latest, "exp_avg": zero, "exp_avg_sq": zero.clone()}


def advance(optimizer: torch.optim.Optimizer, gradients: Tensors) -> None:
    """`optimizer.step()` along gradients by name, to the bit, without the looking up and sorting of parameters that torch
    does in every step, which takes a small network as long as its move. Parameters without a gradient stay.

    Gradients lie in memory as their parameters do: fused kernels read them as if they did.
    """
    moves = [
        (
            group,
            [
                (p, gradients[n])
                for n, p in zip(group["names"], group["params"], strict=True)
                if n in gradients
            ],
        )
        for group in optimizer.param_groups
    ]
    pairs = [pair for _, own in moves for pair in own]
    stateless = type(optimizer) is torch.optim.SGD and not optimizer.defaults["momentum"]
    kernel = _KERNELS.get(type(optimizer))
    if kernel is None or any(p.is_cuda or not (stateless or p in optimizer.state) for p, _ in pairs):
        for parameter, gradient in pairs:
            parameter.grad = gradient
        optimizer.step()  # makes the state in a first step
        for (
            parameter,
            _,
        ) in pairs:  # so that the next step's gradients find this memory free, and still cached
            parameter.grad = None
        return
    with torch.no_grad():
        for group, own in moves:
            if own:
                kernel(
                    group,
                    [p for p, _ in own],
                    [g for _, g in own],
                    [optimizer.state.get(p, {}) for p, _ in own],
                )


def _move_by_sgd(group: dict, parameters: list[Tensor], gradients: list[Tensor], states: list[dict]) -> None:
    if group["momentum"]:
        settings = {
            key: group[key] for key in ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")
        }
        buffers = [state["momentum_buffer"] for state in states]
        torch._fused_sgd_(parameters, gradients, buffers, is_first_step=False, **settings)
        return
    if group["weight_decay"]:
        gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
    torch._foreach_add_(parameters, gradients, alpha=-group["lr"])


def _move_by_adam(group: dict, parameters: list[Tensor], gradients: list[Tensor], states: list[dict]) -> None:
    first, second, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
    settings = {key: group[key] for key in ("amsgrad", "lr", "weight_decay", "eps", "maximize")}
    settings["beta1"], settings["beta2"] = group["betas"]
    torch._foreach_add_(steps, 1)
    move = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    move(parameters, gradients, first, second, [], steps, **settings)


_KERNELS = {torch.optim.SGD: _move_by_sgd, torch.optim.Adam: _move_by_adam, torch.optim.AdamW: _move_by_adam}


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


def set_progress(
    optimizer: torch.optim.Optimizer, options: OptimizerOptions, progress: float, lowered: int = 0
) -> None:
    """Set the learning rates for `progress` (0..1) of the task, after `lowered` plateaus."""
    factor = options.factor(progress) * options.gamma**lowered
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
