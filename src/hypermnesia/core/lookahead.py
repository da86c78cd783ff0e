"""The step that an optimizer would take, without taking it: what a look-ahead asks for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors


class OptimizerView(NamedTuple):
    """What an optimizer's step reads beside the gradients, by name or by group; nested, without the optimizer itself."""

    values: Tensors
    """The parameters."""
    states: dict[str, dict[str, Any]]
    """Moments and counters."""
    rates: list[Tensor]
    """Learning rate of each group."""
    others: list[dict[str, Any]]
    """Each group's other settings and its `names`."""


def view(optimizer: torch.optim.Optimizer) -> OptimizerView:
    """What `candidate` needs, for graphs that are recorded once: what changes from step to step is a tensor."""
    values: Tensors = {}
    states, rates, others = {}, [], []
    for group in optimizer.param_groups:
        rates.append(torch.tensor(group["lr"], dtype=torch.float64, device=group["params"][0].device))
        others.append({key: value for key, value in group.items() if key not in ("params", "lr", "base_lr")})
        for name, parameter in zip(group["names"], group["params"], strict=True):
            values[name], states[name] = parameter.detach(), dict(optimizer.state.get(parameter, {}))
    return OptimizerView(values, states, rates, others)


def candidate(
    optimizer: torch.optim.Optimizer,
    gradients: Mapping[str, Tensor],
    plain: bool = False,
    given: OptimizerView | None = None,
) -> Tensors:
    """The change Δθ that the optimizer would make with these gradients, by name; it and its state stay untouched.

    Differentiable in the gradients, so a second-order look-ahead may pass gradients that carry a graph. Covers
    weight decay (which the published code forgets for Adam). Parameters without a gradient do not move. `given` stands for
    what the optimizer holds. `plain`: the change of SGD without momentum or decay, at the optimizer's learning rates.
    """
    change: Tensors = {}
    for i, group in enumerate(optimizer.param_groups):
        settings = group if given is None else {**given.others[i], "lr": given.rates[i]}
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name not in gradients:
                continue
            if plain:
                change[name] = -settings["lr"] * gradients[name]
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
