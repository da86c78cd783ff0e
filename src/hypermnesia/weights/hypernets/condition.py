"""What a task's embedding is read from: the task's samples, as class means or by an encoder of sets.

A code is the row that a task has among the generator's embeddings, computed from a support set and stored. It does not train,
and it is not computed again when what reads it moves on: the penalty holds what is written at the stored codes.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.layers import Layer, Trunk

Condition = Literal["free", "prototypes", "set", "similar"]


class Reader(nn.Module):
    """E: a support set → the task's code, of the shape that the generator's embeddings have.

    Where that is one vector, (k,): a linear map of all class means in the order of the task's outputs (prototypes), or of the
    mean of φ(x, y) over all samples (set; DeepSets, Zaheer et al. 2017, arXiv:1703.06114).

    Where it is a vector for each of the task's outputs, (outputs, k), row c is read from the n samples of class c alone:

        prototype  p_c = μ_c / ‖μ_c‖ · √(1 + γ / n), μ_c being their mean and γ > 0 trained: a mean of few samples is longer
                   than what it has in common with further ones, by noise that γ stands for
        set        mean φ(x) under a linear map, added to p_c

    and where k is not a sample's size, both under a linear map to k numbers. A class without samples is read as 0.

    With `queries` q_1 … q_h that are learned, a set has h means of φ in place of one, side by side, in which sample i counts
    exp(q_h · φ_i / √u), u being the numbers of φ (pooling by attention; Lee et al. 2019, arXiv:1810.00825).
    """

    def __init__(
        self,
        kind: Condition,
        hidden: Sequence[int],
        inputs: int,
        outputs: int,
        shape: Sequence[int],
        queries: int = 0,
    ) -> None:
        """`inputs`: numbers of a sample. `outputs`: of the target network. Weights are not filled yet."""
        super().__init__()
        self.outputs, self.by_class, size = outputs, len(shape) == 2, shape[-1]
        self.trunk = (
            Trunk(inputs if self.by_class else inputs + outputs, hidden, "relu") if kind == "set" else None
        )
        read = 0 if self.trunk is None else self.trunk.width * max(queries, 1)
        self.queries = nn.Parameter(torch.empty(queries, read // queries)) if queries and read else None
        if self.by_class:
            self.noise = nn.Parameter(torch.empty(()))
            """γ before a softplus."""
            self.prototype = None if size == inputs else Layer(inputs, size, bias=False)
        elif self.trunk is None:
            read = inputs * outputs
        self.out = Layer(read, size, bias=False) if read else None

    def start(self, rng: torch.Generator) -> None:
        """Draw the weights; what a set adds to prototypes of full size starts at 0."""
        initial.plain(self, rng)
        with torch.no_grad():
            if self.queries is not None:
                self.queries.normal_(generator=rng)
            if self.by_class:
                self.noise.fill_(1.0)
                if self.prototype is None and self.out is not None:
                    self.out.weight.zero_()

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Samples `x` (n, …) of the outputs `y` (n,) → the code. `weight` (n,): how much each sample counts; 0 = not at all."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.flatten(1).float()
            member = (y[:, None] == torch.arange(self.outputs, device=y.device)).to(x)  # (n, outputs)
            counted = member if weight is None else member * weight[:, None]
            if self.by_class:
                return self._of_classes(x, counted)
            assert self.out is not None
            if self.trunk is None:
                return self.out(_means(counted, x).flatten())
            return self.out(self._pooled(counted.sum(1, keepdim=True), self.trunk(x, member))[0])

    def _of_classes(self, x: Tensor, counted: Tensor) -> Tensor:
        length = (1 + F.softplus(self.noise) / counted.sum(0).clamp(min=1)).sqrt()
        code = F.normalize(_means(counted, x)) * length[:, None]
        if self.prototype is not None:
            code = self.prototype(code * x.shape[1] ** 0.5)  # entries near 1, as the layer's start expects
        if self.trunk is not None and self.out is not None:
            code = code + self.out(self._pooled(counted, self.trunk(x)))
        return code

    def _pooled(self, counted: Tensor, z: Tensor) -> Tensor:
        """(groups, width of `out`'s input): the means of z (n, u) by `counted` (n, groups), of each query."""
        if self.queries is None:
            return _means(counted, z)
        scores = z @ self.queries.T / z.shape[1] ** 0.5  # (n, queries)
        return torch.cat([_means(counted * _likeness(one[:, None], counted > 0), z) for one in scores.T], 1)


def _likeness(scores: Tensor, member: Tensor) -> Tensor:
    """(n, groups) exp of the scores (n, 1), 1 for the largest among each group's members (n, groups); it cannot overflow."""
    most = torch.where(member, scores, -torch.inf).amax(0).detach().nan_to_num(neginf=0.0)
    return (scores - most).clamp(max=0).exp()


def _means(weights: Tensor, x: Tensor) -> Tensor:
    """(groups, d) weighted means of x (n, d) by `weights` (n, groups); 0 for a group that nothing belongs to."""
    return weights.T @ x / weights.sum(0).clamp(min=1e-6)[:, None]


def reader(
    kind: Condition,
    hidden: Sequence[int],
    sample: Sequence[int],
    dtype: torch.dtype,
    outputs: int,
    shape: Sequence[int],
    rng: torch.Generator,
    queries: int = 0,
) -> Reader:
    """A filled reader of samples of the shape `sample` for embeddings of the shape `shape`.

    Raises `HypermnesiaError` for texts, whose numbers mean nothing by themselves.
    """
    if dtype == torch.int64:
        raise HypermnesiaError(
            f"generator.condition={kind} reads images or vectors, and these samples are texts: leave it free, or bring the "
            "texts as vectors of an encoder"
        )
    made = Reader(kind, hidden, prod(sample), outputs, shape, queries)
    made.start(rng)
    return made
