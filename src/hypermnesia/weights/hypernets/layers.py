"""The parts that generators are built from. All of them are allocated here and filled by `hyper.initial`."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypermnesia.core.errors import HypermnesiaError

Activation = Literal["relu", "elu", "tanh", "sigmoid", "linear"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": lambda x: x,
}
KEEPS_ONE: tuple[Activation, ...] = ("relu", "elu", "linear")
"""Those that leave a 1 as it is."""


class Layer(nn.Module):
    """An affine layer of a trunk: `weight` (outputs, inputs) and `bias` (outputs,) or None."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, *parts: Tensor, constant: bool = False) -> Tensor:
        """The layer's value on the parts side by side: (…, inputs) → (…, outputs), or outputs + 1.

        Every part meets its own columns of the weight and the products are added, so parts may have different
        leading shapes that broadcast, and nothing is repeated before it is multiplied. `constant`: with one more
        output, always 1; it costs a row of the weight and no copy of the outputs.
        """
        matrix, bias = self.weight, self.bias
        if constant and bias is not None:
            matrix, bias = F.pad(matrix, (0, 0, 0, 1)), F.pad(bias, (0, 1), value=1.0)
        if len(parts) == 1:
            return F.linear(parts[0], matrix, bias)
        columns = matrix.split([part.shape[-1] for part in parts], dim=1)
        total = F.linear(parts[-1], columns[-1], bias)
        for part, weight in zip(parts[:-1], columns[:-1], strict=True):
            total = total + F.linear(part, weight)
        return total


class Trunk(nn.Module):
    """Hidden layers, each followed by the activation; none at all makes it the identity on its inputs."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        activation: Activation,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.bias = bias
        self.dropout = nn.Dropout(dropout)
        """Of every hidden layer's features, after the activation; in training mode alone."""
        sizes = (inputs, *hidden)
        self.width = sizes[-1]
        """Number of features that leave the trunk."""
        self.layers = nn.ModuleList(
            Layer(before, after, bias) for before, after in zip(sizes[:-1], sizes[1:], strict=True)
        )

    def forward(self, *parts: Tensor) -> Tensor:
        """Features (…, width) of the parts side by side; their leading shapes broadcast."""
        return self._features(parts, constant=False)

    def homogeneous(self, *parts: Tensor) -> Tensor:
        """The same with the constant 1 behind them (…, width + 1), as an `OutputMap` with a bias takes them."""
        drops = self.training and self.dropout.p > 0  # which would drop the constant too
        if self.layers and self.activation in KEEPS_ONE and self.bias and not drops:
            return self._features(parts, constant=True)
        return F.pad(self._features(parts, constant=False), (0, 1), value=1.0)

    def _features(self, parts: Sequence[Tensor], constant: bool) -> Tensor:
        parts = tuple(part for part in parts if part.shape[-1])
        if not self.layers:
            leading = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
            return torch.cat([part.expand(*leading, part.shape[-1]) for part in parts], dim=-1)
        act, last = ACTIVATIONS[self.activation], len(self.layers) - 1
        features = self.dropout(act(self.layers[0](*parts, constant=constant and last == 0)))
        for i in range(1, last + 1):
            features = self.dropout(act(self.layers[i](features, constant=constant and i == last)))
        return features


class OutputMap(nn.Module):
    """A generator's last map, kept as one matrix (outputs, inputs + 1) whose last column is the bias.

    Its inputs end with the constant 1 (see `homogeneous`). One matrix in place of a weight and a bias spares
    the drift penalty a pass over the long axis, and every formula its bias terms.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.bias = bias
        self.weight = nn.Parameter(torch.empty(outputs, inputs + bias))

    def homogeneous(self, features: Tensor) -> Tensor:
        """features (…, inputs) → what the matrix multiplies: (…, inputs + 1), the last number being 1."""
        return F.pad(features, (0, 1), value=1.0) if self.bias else features

    def forward(self, features: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        return F.linear(self.homogeneous(features), self.weight)


class Table(nn.Module):
    """Learned vectors that all tasks share, one per chunk, channel or layer: `weight` (rows, size)."""

    def __init__(self, rows: int, size: int, std: float = 1.0) -> None:
        super().__init__()
        self.shape = (rows, size)
        self.std = std
        """Standard deviation of the initial entries."""
        self.weight = nn.Parameter(torch.empty(rows, size))


class TaskRows(nn.ParameterList):
    """One parameter of a fixed shape per task, such as the task embeddings."""

    def __init__(self, shape: Sequence[int], std: float | Tensor = 1.0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.std = std
        """Standard deviation of a fresh row's entries: a number, or a tensor that broadcasts to the shape."""

    def grow(self, rng: torch.Generator, start: Literal["random", "previous"], like: Tensor) -> None:
        """Add a row, N(0, std²) from `rng` or a copy of the last one, with the dtype and device of `like`."""
        if start == "previous":
            if not len(self):
                raise HypermnesiaError('grow(init="previous"): there is no earlier task; start with "random"')
            row = self[len(self) - 1].detach().clone()
        else:
            row = torch.empty(self.shape, device="cpu").normal_(generator=rng) * self.std
        self.append(nn.Parameter(row.to(like)))

    def pick(self, tasks: Sequence[int] | Tensor) -> Tensor:
        """Rows of the tasks: (T, *shape).

        `tasks` may be an index tensor (T,), for tasks drawn in a compiled or stacked step; it is not checked.
        """
        if isinstance(tasks, Tensor):
            return torch.stack(list(self))[tasks]
        if not len(tasks):
            raise HypermnesiaError("a generator was asked for no task at all: pass at least one")
        missing = [task for task in tasks if not 0 <= task < len(self)]
        if missing:
            raise HypermnesiaError(
                f"a generator was asked for task {missing[0]}, but it has {len(self)} "
                f"({f'0 to {len(self) - 1}' if len(self) else 'none yet'}); call grow() once for every task"
            )
        return torch.stack([self[task] for task in tasks])
