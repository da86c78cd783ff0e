"""Last layers beside a plain linear one; each is an `nn.Linear`, so that whatever looks for a classifier finds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.stages import classifier

ClassifierName = Literal["linear", "cosine", "simplex", "projected"]


class CosineLinear(nn.Linear):
    """η · cos(f, w_c) for each class c, without a bias (Gidaris & Komodakis 2018; Hou et al. 2019, eq. 4)."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = nn.Parameter(torch.tensor([scale]))
        """η, trained."""

    def forward(self, input: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(input, dim=-1), F.normalize(self.weight, dim=-1))


class SimplexLinear(nn.Linear):
    """Regular polytope classifier (Pernici et al. 2021, arXiv:2103.15632): C − 1 trained outputs, whose products with the C
    corners of a regular simplex of unit vectors are the logits. Classes lie at equal angles from the start."""

    corners: Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs - 1, bias)
        self.register_buffer("corners", simplex(outputs))
        """(C − 1, C), fixed."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias) @ self.corners


class ProjectedLinear(nn.Linear):
    """A linear classifier that holds a projection of its input beside: d → d → `width`, which `projections` runs."""

    def __init__(self, inputs: int, outputs: int, bias: bool, width: int) -> None:
        super().__init__(inputs, outputs, bias)
        self.projection = nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, width))


def simplex(corners: int) -> Tensor:
    """(n − 1, n): columns of unit length, the cosine of any two of which is −1 / (n − 1)."""
    centred = torch.eye(corners, dtype=torch.float64) - 1 / corners
    # An orthonormal basis of what the centred unit vectors span: Helmert's.
    basis = torch.ones(corners, corners, dtype=torch.float64).tril()[:-1]
    rows = torch.arange(1, corners, dtype=torch.float64)
    basis[torch.arange(corners - 1), torch.arange(1, corners)] = -rows
    basis = F.normalize(basis, dim=1)
    return F.normalize(basis @ centred, dim=0).float()


def with_classifier(net: nn.Module, name: ClassifierName, scale: float, width: int) -> nn.Module:
    """`net` with its last linear layer replaced by a classifier of this kind, the weights kept where it has such."""
    if name == "linear":
        return net
    path = classifier(net)
    old = net.get_submodule(path)
    if path == "" or type(old) is not nn.Linear:
        raise HypermnesiaError(
            f"weights.classifier={name} replaces the last nn.Linear of a network; {type(net).__name__} has no plain one "
            "within it"
        )
    inputs, outputs, bias = old.in_features, old.out_features, old.bias is not None
    if name == "cosine":
        new: nn.Linear = CosineLinear(inputs, outputs, scale)
    elif name == "simplex":
        new = SimplexLinear(inputs, outputs, bias)
    else:
        new = ProjectedLinear(inputs, outputs, bias, width)
    rows = new.out_features
    with torch.no_grad():
        new.weight.copy_(old.weight[:rows])
        if new.bias is not None:
            new.bias.copy_(old.bias[:rows])
    parent, _, key = path.rpartition(".")
    setattr(net.get_submodule(parent), key, new)
    return net


@contextmanager
def projections(net: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block: the projections (B, width) of the classifier's inputs, one for each forward of `net`."""
    last = net.get_submodule(classifier(net))
    if not isinstance(last, ProjectedLinear):
        raise HypermnesiaError(
            f"{type(net).__name__} has no projection of its features: set weights.classifier=projected"
        )
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, x: seen.append(last.projection(x[0])))
    try:
        yield seen
    finally:
        hook.remove()
