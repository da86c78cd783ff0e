"""A generator with a code for each class: it writes a classifier row by row, and what lies before it from all codes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Count, Counts, NotNegative, OneOrMore
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets import initial
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor
from hypermnesia.weights.hypernets.layers import OutputMap, TaskRows, Trunk


@dataclass(frozen=True, kw_only=True)
class ClasswiseOptions(GeneratorOptions):
    """One code for each output of the network; our own, after prototype-augmented hypernetworks (PAH, 2025).

    A class has the same row whatever its place among the task's classes and whichever the others are, as long as nothing but
    the classifier is written: so rows of different tasks can be compared.
    """

    embedding: Count | None = None
    """Numbers in a class's code, at least 1; none = as many as the classifier has inputs."""
    hidden: Counts = ()
    """Units of each hidden layer; () makes it linear."""
    context: OneOrMore | None = None
    """Units of the hidden layers between the mean of all codes and what is written beside the classifier, whose rows then keep
    to their own codes; none = as `hidden`, and rows see that mean as well."""
    embedding_std: NotNegative = 1.0
    """Standard deviation of a free code's entries, at least 0."""
    init: Literal["plain", "nearest-mean", "zero"] = "plain"
    """Start of its weights. plain: torch's. nearest-mean: a class's row is its code times 14 / √d, d being the classifier's
    inputs, so that with codes read as prototypes the nearest mean by cosine answers; without hidden layers only. zero: the
    same, and all that is written beside the classifier is 0, for additions to a given network (weights=lora)."""

    def build(
        self,
        shapes: Mapping[str, torch.Size],
        rng: torch.Generator,
        scales: Collection[str] = (),
        shifts: Collection[str] = (),
    ) -> "Classwise":
        generator = Classwise(self, shapes)
        initial.plain(generator, rng)
        if self.init != "plain":
            generator.start_at_codes()
        if self.init == "zero" and generator.writes_beside:
            torch.nn.init.zeros_(generator.out.weight)
        return generator


class Classwise(Generator):
    """Row c of the last matrix, and of the vector after it: A [trunk(z_c ; z̄) ; 1], z̄ being the mean of all codes z.

    All other tensors: B [trunk'(z̄) ; 1]. Where there are none, the rows do not see z̄, nor do they where `context` gives trunk'
    layers of its own, which see z̄ √k / ‖z̄‖.
    """

    def __init__(self, options: ClasswiseOptions, shapes: Mapping[str, torch.Size]) -> None:
        matrices = [name for name, shape in shapes.items() if len(shape) >= 2]
        if shapes and not matrices:
            raise HypermnesiaError(
                "generator=classwise writes a classifier, and no matrix is among the tensors to write: "
                f"{', '.join(shapes)}"
            )
        outputs = shapes[matrices[-1]][0] if matrices else 1
        width = prod(shapes[matrices[-1]][1:]) if matrices else 1
        k = options.embedding or width
        super().__init__(shapes, TaskRows((outputs, k), options.embedding_std))
        after = list(self.shapes)[list(self.shapes).index(matrices[-1]) + 1 :]
        biases = [name for name in after[:1] if self.shapes[name] == (outputs,)]
        self._rows = {name: self.shapes[name] for name in (matrices[-1], *biases)}
        self._rest = {name: shape for name, shape in self.shapes.items() if name not in self._rows}
        self._init, self._apart = options.init, options.context is not None
        self.trunk = Trunk(2 * k if self._joint else k, options.hidden, "relu")
        self.outs = torch.nn.ModuleList(
            OutputMap(self.trunk.width, prod(shape[1:])) for shape in self._rows.values()
        )
        if self._rest:
            self.context = Trunk(k, options.context or options.hidden, "relu")
            self.out = OutputMap(self.context.width, sum(prod(shape) for shape in self._rest.values()))

    @property
    def _joint(self) -> bool:
        """Whether rows see what all codes have in common."""
        return self.writes_beside and not self._apart

    @property
    def writes_beside(self) -> bool:
        """Whether it writes more than the classifier."""
        return bool(self._rest)

    def start_at_codes(self) -> None:
        """Begin with rows that are the codes themselves, times 14 / √d, and biases of 0."""
        outs = self._outs()
        d, k = len(outs[0].weight), self.embeddings.shape[1]
        if d != k or self.trunk.layers:
            raise HypermnesiaError(
                f"generator.init={self._init} starts with rows of {d} numbers that are codes, of {k} here"
                f"{', behind hidden layers' if self.trunk.layers else ''}: leave generator.embedding and generator.hidden out, "
                "or take generator.init=plain"
            )
        with torch.no_grad():
            for out in outs:
                out.weight.zero_()
            outs[0].weight[:, :k] = torch.eye(d) * (14 / d**0.5)

    def _outs(self) -> list[OutputMap]:
        """The last maps of the classifier's matrix and of its bias, if it has one."""
        return cast("list[OutputMap]", list(self.outs))

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        codes = self.embeddings.pick(tasks)  # (T, outputs, k)
        mean = codes.mean(1, keepdim=True)
        rows = self.trunk.homogeneous(codes, mean) if self._joint else self.trunk.homogeneous(codes)
        found: list[Factor] = []
        found += [
            LinearFactor(rows, out.weight, {name: shape})
            for out, (name, shape) in zip(self._outs(), self._rows.items(), strict=True)
        ]
        if self._rest:
            seen = F.normalize(mean, dim=-1) * mean.shape[-1] ** 0.5 if self._apart else mean
            found.append(LinearFactor(self.context.homogeneous(seen), self.out.weight, self._rest))
        return found
