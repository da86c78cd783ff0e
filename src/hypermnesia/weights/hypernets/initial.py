"""Initial values of generators. Every number comes from the `torch.Generator` that is passed in.

`plain` and `xavier` look at the generator alone. Hyperfan (Chang, Flokas & Lipson 2020, "Principled weight
initialization for hypernetworks") looks at the target: each generated tensor starts with the variance that
Kaiming or Xavier initialisation would give it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets.layers import ACTIVATIONS, Activation, Layer, OutputMap, Table, Trunk

Hyperfan = Literal["hyperfan-in", "hyperfan-out", "hyperfan-harmonic"]
Init = Literal["plain", "xavier", "hyperfan-in", "hyperfan-out", "hyperfan-harmonic"]


@dataclass(frozen=True)
class Fan:
    """What a generated tensor is in its target, as far as its initial variance depends on it."""

    kind: Literal["weight", "bias", "scale", "shift"]
    fan_in: int = 1
    """Inputs per output unit of the weight, or of the weight that the bias belongs to."""
    fan_out: int = 1
    """Output units × kernel positions of that weight."""
    biased: bool = False
    """Whether a generated bias is added to what the weight puts out."""


def fans(
    shapes: Mapping[str, torch.Size], scales: Collection[str] = (), shifts: Collection[str] = ()
) -> dict[str, Fan]:
    """The `Fan` of every tensor, in the order of `shapes`.

    Tensors of two and more dimensions are weights (outputs first); a vector right after a weight with as many
    outputs is its bias. Scales and shifts of normalisation layers must be named, since their shapes do not
    show them; so must any other vector, or it is an error.
    """
    unmatched = [name for name in (*scales, *shifts) if name not in shapes]
    if unmatched:
        raise HypermnesiaError(
            f"scales or shifts name {unmatched[0]!r}; the tensors are: {', '.join(shapes)}"
        )
    found: dict[str, Fan] = {}
    previous: str | None = None
    for name, shape in shapes.items():
        if name in scales or name in shifts:
            found[name] = Fan("scale" if name in scales else "shift")
        elif len(shape) >= 2:
            found[name] = Fan("weight", prod(shape[1:]), shape[0] * prod(shape[2:]))
        elif previous is not None and len(shapes[previous]) >= 2 and shape == shapes[previous][:1]:
            weight = found[previous]
            found[previous] = Fan("weight", weight.fan_in, weight.fan_out, biased=True)
            found[name] = Fan("bias", weight.fan_in, weight.fan_out)
        else:
            raise HypermnesiaError(
                f"hyperfan cannot tell what {name!r} of shape {tuple(shape)} is: it follows no weight with "
                "as many outputs. Name it in `scales` or `shifts`, or use generator.init=plain"
            )
        previous = name
    return found


def target_variance(fan: Fan, scheme: Hyperfan, gain: float = 2.0) -> float:
    """Variance that a generated weight or bias should have at the start.

    `gain`: 2 for targets with ReLU (Kaiming), 1 for linear or tanh ones (Xavier). Where a bias is generated
    too, it carries half of the output's variance (fan-in), or makes up for what the weight lacks (fan-out).
    Harmonic is the harmonic mean of the two variances, which for weights without bias is Xavier's 2 gain /
    (fan_in + fan_out).
    """
    if scheme == "hyperfan-harmonic":
        both = (target_variance(fan, "hyperfan-in", gain), target_variance(fan, "hyperfan-out", gain))
        return 2 / (1 / both[0] + 1 / both[1]) if min(both) > 0 else 0.0
    if fan.kind == "weight":
        return gain / ((2 if fan.biased else 1) * fan.fan_in if scheme == "hyperfan-in" else fan.fan_out)
    return gain / 2 if scheme == "hyperfan-in" else max(0.0, gain * (1 - fan.fan_in / fan.fan_out))


def refuse_norms(fans: Mapping[str, Fan], generator: str) -> None:
    """Raise where a generator, described by an adjective, cannot start norm scales at 1 and shifts at 0."""
    for name, fan in fans.items():
        if fan.kind in ("scale", "shift"):
            raise HypermnesiaError(
                f"a {generator} generator cannot start the norm {fan.kind} {name!r} with hyperfan-in: "
                "write weights.norms=per_task (each task's own) or shared (one for all), or generator.init=plain"
            )


def uniform(values: Tensor, bound: float, rng: torch.Generator) -> None:
    """Overwrite `values` in place with draws from U(−bound, bound)."""
    with torch.no_grad():
        values.uniform_(-bound, bound, generator=rng)


def plain(module: nn.Module, rng: torch.Generator) -> None:
    """Torch's own start of linear layers, U(±1 / √fan_in) for weights and biases; tables N(0, std²)."""
    for part in module.modules():
        if isinstance(part, Layer | OutputMap):
            bound = 1 / sqrt(part.weight.shape[1] - (isinstance(part, OutputMap) and part.bias))
            for parameter in part.parameters():
                uniform(parameter, bound, rng)
    tables(module, rng)


def xavier(module: nn.Module, rng: torch.Generator) -> None:
    """Xavier-uniform weights, zero biases; tables N(0, std²). As in the MNIST runs of the paper's code."""
    for part in module.modules():
        if isinstance(part, Layer):
            _fill(part, sqrt(6 / sum(part.weight.shape)), rng)
        elif isinstance(part, OutputMap):
            _fill(part, sqrt(6 / (sum(part.weight.shape) - part.bias)), rng)
    tables(module, rng)


def tables(module: nn.Module, rng: torch.Generator) -> None:
    """N(0, std²) in every table of the module."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Table):
                part.weight.normal_(0, part.std, generator=rng)


def kaiming(trunk: Trunk, rng: torch.Generator) -> None:
    """Hidden weights of variance 1 / (fan_in · E[act(x)²]), x ~ N(0, 1): Kaiming's for ReLU; zero biases."""
    for layer in trunk.modules():
        if isinstance(layer, Layer):
            variance = 1 / (layer.weight.shape[1] * _mean_square(trunk.activation, 1.0))
            _fill(layer, sqrt(3 * variance), rng)


def fan_in(out: OutputMap, rng: torch.Generator) -> None:
    """Weights of variance 1 / fan_in, so that the results have the features' mean square; zero biases."""
    _fill(out, sqrt(3 / (out.weight.shape[1] - out.bias)), rng)


def second_moment(trunk: Trunk, inputs: float) -> float:
    """Mean square of a wide trunk's features after `kaiming`, if `inputs` is that of what enters it.

    ReLU, and no activation, keep it; others only near 1.
    """
    gain = 1 / _mean_square(trunk.activation, 1.0)
    for _ in trunk.layers:
        inputs = _mean_square(trunk.activation, gain * inputs)
    return inputs


def _mean_square(activation: Activation, variance: float) -> float:
    """E[act(x)²] for x ~ N(0, variance), as in a wide layer, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    values = ACTIVATIONS[activation](torch.from_numpy(nodes * sqrt(variance)))
    return float(values.square() @ torch.from_numpy(weights / weights.sum()))


def fill_rows(
    rows: Tensor, fan: Fan, variance: float, inputs: float, bias: bool, rng: torch.Generator
) -> None:
    """Start the rows of an `OutputMap` that write one tensor, in place.

    `rows` (n, inputs + bias) become uniform with zero bias, so that the tensor has the given variance when
    the sum of the squared inputs is `inputs`. Scales start at 1 and shifts at 0, whatever the task.
    """
    with torch.no_grad():
        if fan.kind in ("scale", "shift"):
            rows.zero_()
            if fan.kind == "scale":
                if not bias:
                    raise HypermnesiaError("norm scales can only start at 1 in a generator with bias=true")
                rows[:, -1] = 1
            return
        weights = rows[:, :-1] if bias else rows
        uniform(weights, sqrt(3 * variance / inputs), rng)
        if bias:
            rows[:, -1] = 0


def offset(out: OutputMap, value: float) -> None:
    """Add `value` to every bias of an output map."""
    if value:
        if not out.bias:
            raise HypermnesiaError(f"generator.mask_bias={value} needs a generator with bias=true")
        with torch.no_grad():
            out.weight[:, -1] += value


def _fill(part: Layer | OutputMap, bound: float, rng: torch.Generator) -> None:
    uniform(part.weight, bound, rng)
    with torch.no_grad():
        if isinstance(part, OutputMap) and part.bias:
            part.weight[:, -1] = 0
        elif isinstance(part, Layer) and part.bias is not None:
            part.bias.zero_()
