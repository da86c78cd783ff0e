"""Multilayer perceptron on flattened images."""

from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import nn

from hypermnesia.core.declared import Checked, Counts, Probability
from hypermnesia.nets.options import Shape, check_flat_shape

Activation = Literal["relu", "elu", "tanh", "sigmoid", "linear"]
Init = Literal["default", "xavier"]
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}


@dataclass(frozen=True, kw_only=True)
class MLPOptions(Checked, section="net"):
    """Multilayer perceptron; by default that of the Split-MNIST runs of von Oswald et al. 2020."""

    takes = ("images", "vectors")

    hidden: Counts = (400, 400)
    """Units of each hidden layer; () makes the network linear."""
    activation: Activation = "relu"
    """What follows each hidden layer; `linear` is nothing."""
    bias: bool = True
    """Whether the layers, the head included, have a bias."""
    dropout: Probability = 0.0
    """Probability of dropping a hidden unit, at least 0 and below 1."""
    init: Init = "default"
    """Initial weights. default: torch's. xavier: Xavier-uniform with zero bias (replay papers: DER, HCR)."""

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, C, H, W) or vectors (B, F) to logits (B, outputs).

        Stages: flatten, layer1 … layerN (linear, activation, dropout), head.
        """
        check_flat_shape("mlp", shape, outputs)
        widths = (prod(shape), *self.hidden)
        parts = OrderedDict[str, nn.Module](flatten=nn.Flatten())
        for i in range(len(self.hidden)):
            layer = OrderedDict(
                linear=nn.Linear(widths[i], widths[i + 1], self.bias),
                activation=_ACTIVATIONS[self.activation](),
                dropout=nn.Dropout(self.dropout),
            )
            parts[f"layer{i + 1}"] = nn.Sequential(layer)
        parts["head"] = nn.Linear(widths[-1], outputs, self.bias)
        net = nn.Sequential(parts)
        if self.init == "xavier":
            xavier(net)
        return net


def xavier(net: nn.Module) -> None:
    """Xavier-uniform weights and zero bias for every linear map of `net`, in place."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
