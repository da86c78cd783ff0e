"""Low-rank additions that no network writes: their factors are what is stored, for each task or for all together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.factors import Factor, OuterFactor, Shapes
from hypermnesia.weights.hypernets.layers import TaskRows

Sharing = Literal["stored", "shared", "summed"]


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(GeneratorOptions):
    """Factors U, V of each matrix's addition U Vᵀ (Hu et al. 2021, arXiv:2106.09685); U starts at 0, V at N(0, 1/in)."""

    matrices_only: ClassVar[bool] = True

    sharing: Sharing = "stored"
    """stored: each task has its own. shared: one for all tasks, which goes on training. summed: each task adds one to those
    before, which rest, and all tasks use the sum (O-LoRA, SD-LoRA)."""
    rank: Count = 4
    """Outer products of a matrix, at least 1."""
    magnitudes: bool = False
    """summed: additions of earlier tasks keep their direction, and their size goes on training, a number for each matrix
    (SD-LoRA, Wu et al. 2025, arXiv:2501.13198)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.magnitudes and self.sharing != "summed":
            raise HypermnesiaError("generator.magnitudes=true is for weights.written=summed")
        if self.condition != "free":
            raise HypermnesiaError(
                f"generator.condition={self.condition} is for generators that are given an embedding of each task; "
                "additions that are stored have none: leave it free"
            )

    @classmethod
    def writing(cls, role: str | None) -> Self:
        if role != "added":
            raise HypermnesiaError("generator=adapters adds to weights that are there: take weights=lora")
        return cls()

    def build(
        self,
        shapes: Mapping[str, torch.Size],
        rng: torch.Generator,
        scales: Collection[str] = (),
        shifts: Collection[str] = (),
    ) -> "Adapters":
        """Adapters of the matrices `shapes` without tasks."""
        return Adapters(self, shapes)


class Adapters(Generator):
    """Stands where a generator stands, and writes what it holds. Convolutions count as matrices (out, in × positions)."""

    def __init__(self, options: AdapterOptions, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__(shapes, TaskRows((0,)))
        self.sharing, self.magnitudes, self.rank = options.sharing, options.magnitudes, options.rank
        groups: dict[tuple[int, int], Shapes] = {}
        for name, shape in self.shapes.items():
            groups.setdefault((shape[0], prod(shape[1:])), {})[name] = shape
        self.reads_rest = False
        """Whether something else sets V when a task begins (InfLoRA); U alone trains then."""
        self.groups = list(groups.values())
        """Matrices of equal size, which are kept as one tensor."""
        sizes = [(len(group), *size) for size, group in groups.items()]
        self.up = nn.ModuleList(TaskRows((many, out, options.rank), std=0.0) for many, out, _ in sizes)
        self.down = nn.ModuleList(
            TaskRows((many, into, options.rank), std=into**-0.5) for many, _, into in sizes
        )
        self.sizes = nn.ModuleList(nn.ParameterList() for _ in sizes if options.magnitudes)
        """Of the additions of all tasks but the last: (matrices,) each."""

    @property
    def differs(self) -> bool:
        return self.sharing == "stored"

    def grow(self, rng: torch.Generator, init: Literal["random", "previous"] = "random") -> None:
        like = next(self.parameters(), torch.empty(()))
        if self.num_tasks:
            for own, up, down in zip(self.sizes, self.rows("up"), self.rows("down"), strict=False):
                size = torch.linalg.matrix_norm(up[-1] @ down[-1].mT).detach()
                cast("nn.ParameterList", own).append(nn.Parameter(size))
        if not self.num_tasks or self.sharing != "shared":
            for rows in (*self.rows("up"), *self.rows("down")):
                rows.grow(rng, init, like)
        self.embeddings.grow(rng, init, like)

    def rests(self, name: str, of_task: bool) -> bool:
        return self.reads_rest and name.startswith("down.")

    def task_parameters(self, task: int) -> list[str]:
        return [] if self.sharing == "shared" else super().task_parameters(task)

    def pair(self, group: int, task: int) -> tuple[Tensor, Tensor]:
        """(U (L, out, r), V (L, in, r)) of the L matrices of a group as `task` uses them."""
        up, down = self.rows("up")[group], self.rows("down")[group]
        if self.sharing != "summed":
            row = task if self.sharing == "stored" else 0
            return up.pick([row])[0], down.pick([row])[0]
        ups = list(up)
        for i, size in enumerate(cast("nn.ParameterList", self.sizes[group]) if self.magnitudes else ()):
            was = torch.linalg.matrix_norm(up[i] @ down[i].mT)
            ups[i] = up[i] * (size / was.clamp_min(torch.finfo(was.dtype).tiny))[:, None, None]
        return torch.cat(ups, -1), torch.cat(list(down), -1)

    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        found: list[Factor] = []
        for i, group in enumerate(self.groups):
            if self.differs:
                u, v = (self.rows(name)[i].pick(tasks) for name in ("up", "down"))
            else:
                u, v = (part.expand(len(tasks), *part.shape) for part in self.pair(i, 0))
            found.append(OuterFactor(u, v, group))
        return found

    def rows(self, name: Literal["up", "down"]) -> list[TaskRows]:
        """U or V of each group, by task."""
        return cast("list[TaskRows]", list(getattr(self, name)))
