"""Multilayer perceptron on flattened images."""

from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from torch import Tensor, nn

from hypermnesia.core.checks import check_choice
from hypermnesia.nets.options import Shape, check_counts, check_probability, check_shape

Activation = Literal["relu", "elu", "tanh", "sigmoid", "linear"]
Init = Literal["default", "xavier"]


@dataclass(frozen=True, kw_only=True)
class MLPOptions:
    """Multilayer perceptron; by default that of the Split-MNIST runs of von Oswald et al. 2020."""

    hidden: tuple[int, ...] = (400, 400)
    """Units of each hidden layer; () makes the network linear."""
    activation: Activation = "relu"
    """What follows each hidden layer; `linear` is nothing."""
    bias: bool = True
    """Whether the layers, the head included, have a bias."""
    dropout: float = 0.0
    """Probability of dropping a hidden unit, at least 0 and below 1."""
    init: Init = "default"
    """Initial weights. default: torch's. xavier: Xavier-uniform with zero bias (replay papers: DER, HCR)."""

    def __post_init__(self) -> None:
        check_counts("net.hidden", self.hidden)
        check_choice("net.activation", self.activation, get_args(Activation))
        check_probability("net.dropout", self.dropout)
        check_choice("net.init", self.init, get_args(Init))

    def build(self, shape: Shape, outputs: int) -> "MLP":
        """A network from images (B, *shape) to logits (B, outputs)."""
        check_shape("mlp", shape, outputs)
        return MLP(self, shape, outputs)


class MLP(nn.Module):
    """Stages: flatten, layer1 … layerN (linear, activation, dropout), head."""

    def __init__(self, options: MLPOptions, shape: Shape, outputs: int) -> None:
        super().__init__()
        widths = (prod(shape), *options.hidden)
        layers = [f"layer{i}" for i in range(1, len(widths))]
        self.flatten = nn.Flatten()
        for layer, fan_in, fan_out in zip(layers, widths[:-1], widths[1:], strict=True):
            parts = OrderedDict(
                linear=nn.Linear(fan_in, fan_out, options.bias),
                activation=_activation(options.activation),
                dropout=nn.Dropout(options.dropout),
            )
            self.add_module(layer, nn.Sequential(parts))
        self.head = nn.Linear(widths[-1], outputs, options.bias)
        self.stages: tuple[str, ...] = ("flatten", *layers, "head")
        if options.init == "xavier":
            _xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


def _activation(name: Activation) -> nn.Module:
    match name:
        case "relu":
            return nn.ReLU()
        case "elu":
            return nn.ELU()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
        case "linear":
            return nn.Identity()


def _xavier(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
