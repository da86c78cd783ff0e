"""What every generator is: a module that grows by a task at a time and writes that task's tensors."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, overload

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Checked, Count, Counts, Natural, NotNegative, Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.nets.norms import norm_parameters
from hypermnesia.weights.hypernets import sizing
from hypermnesia.weights.hypernets.condition import Condition, Reader
from hypermnesia.weights.hypernets.factors import Factor, Shapes, assemble
from hypermnesia.weights.hypernets.layers import TaskRows

__all__ = ["Factor", "Generator", "GeneratorOptions"]


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions(Checked, ABC, section="generator"):
    """What every generator's options are: a frozen dataclass that builds it."""

    compression: Positive | None = None
    """Share of the numbers that it writes which the generator itself shall have, above 0, without the tasks' own embeddings:
    then its widths, and a chunk's size, are chosen, in the proportions that are given. none = as they are given."""
    condition: Condition = "free"
    """Where a task's embedding comes from. free: it is trained. Else it is computed from the task's samples (images, or
    features under stream.features) and stored: prototypes = class means under a linear map; set = an encoder of each sample,
    averaged, which the approach meta-hnet trains. similar: it is trained from that of the earlier task whose network answers most
    of this one's samples, where that is enough (after H-embedding, arXiv:2502.11609)."""
    alike: NotNegative = 0.75
    """Of condition=similar: an embedding starts as an earlier one where that one's network answers at least so many times the
    share of the new task's samples that it answered of its own, ≥ 0; else it is drawn."""
    support: Count = 100
    """Training samples of each class that an embedding is computed from, at most, ≥ 1."""
    encoder: Counts = (256,)
    """Units of each hidden layer of condition=set."""
    queries: Natural = 0
    """Of condition=set: learned queries by which samples are weighed (attention), each giving a mean of its own; 0 = every
    sample counts alike."""
    matrices_only: ClassVar[bool] = False
    """Whether it writes no tensor of one dimension: then every task stores its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries and self.condition != "set":
            raise HypermnesiaError(
                f"generator.queries={self.queries} weighs the samples that condition=set reads, and here it is "
                f"{self.condition}: take generator.condition=set, or leave generator.queries out"
            )

    @classmethod
    def writing(cls, role: str | None) -> Self:
        """Its defaults where a network's weights have this role: `generated`, `masked`, `added`; None: single ones."""
        return cls()

    def fitted(self, shapes: Mapping[str, torch.Size]) -> Self:
        """These options with the sizes that `compression` asks for where the tensors `shapes` are written."""
        return self if self.compression is None else sizing.by_widths(self, shapes)

    def build_for(
        self, net: nn.Module, shapes: Mapping[str, torch.Size], rng: torch.Generator
    ) -> "Generator":
        """As `fitted` and then `build`, of the tensors `shapes` of `net`, whose normalisation layers are known."""
        norms = [name for name in norm_parameters(net) if name in shapes]
        scales = [name for name in norms if name.endswith("weight")]
        shifts = [name for name in norms if name not in scales]
        return self.fitted(shapes).build(shapes, rng, scales, shifts)

    @abstractmethod
    def build(
        self,
        shapes: Mapping[str, torch.Size],
        rng: torch.Generator,
        scales: Collection[str] = (),
        shifts: Collection[str] = (),
    ) -> "Generator":
        """A generator of the tensors `shapes` without tasks, its weights drawn from `rng`. `scales` and `shifts` name
        the tensors of normalisation layers, which should start at 1 and 0."""


def full_precision(module: nn.Module) -> torch.autocast:
    """A block without autocast on the module's device."""
    return torch.autocast(next(module.parameters()).device.type, enabled=False)


@contextlib.contextmanager
def without_noise(generator: "Generator") -> Iterator[None]:
    """Within the block the generator neither drops nor adds anything at random, as in evaluation."""
    was_training = generator.training
    generator.eval()
    try:
        yield
    finally:
        generator.train(was_training)


class Generator(nn.Module, ABC):
    """A hypernetwork h: task embeddings → the tensors of a target network (von Oswald et al. 2020, eq. 1).

    It starts without tasks; each `grow` adds the parameters of one more, so nothing of the earlier ones moves
    and their optimizer state stays valid. The value is a pure function of the parameters: it works under
    `torch.func.functional_call` and `torch.func.vmap`.
    """

    shapes: Shapes
    """The tensors that are written, by name; the order of the results."""
    embeddings: TaskRows
    """One embedding per task."""
    reader: Reader | None
    """What computes embeddings from samples; None where they are free."""
    answered: TaskRows | None
    """Where embeddings start as those of similar tasks: the share of each task's samples that its network answered at its end."""
    alike: float
    """What of that share makes another task similar."""
    support: int
    """Samples of each class that it is given, at most."""
    embedding_noise: float
    """Standard deviation of the Gaussian noise on task embeddings, in training mode alone."""

    def __init__(
        self, shapes: Mapping[str, torch.Size], embeddings: TaskRows, embedding_noise: float = 0.0
    ) -> None:
        super().__init__()
        if not shapes:
            raise HypermnesiaError("a generator needs at least one tensor to write; `shapes` is empty")
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self.embeddings = embeddings
        self.embedding_noise = embedding_noise
        self.reader, self.support = None, 0
        self.answered, self.alike = None, 0.0

    @abstractmethod
    def factors(self, tasks: Sequence[int] | Tensor) -> list[Factor]:
        """The tensors of the tasks before they are multiplied out, all tasks in one batched pass."""

    def inputs(self, tasks: Sequence[int] | Tensor) -> Tensor:
        """The tasks' embeddings (T, embedding), with noise where a generator in training mode has some."""
        rows = self.embeddings.pick(tasks)
        if self.training and self.embedding_noise:
            return rows + self.embedding_noise * torch.randn_like(rows)
        return rows

    @property
    def differs(self) -> bool:
        """Whether what it writes depends on the task."""
        return True

    def rests(self, name: str, of_task: bool) -> bool:
        """Whether the parameter of that name is computed and not trained, as a code is; `of_task`: it is a task's own."""
        return name.startswith("answered.") or (self.reader is not None and of_task)

    @property
    def num_tasks(self) -> int:
        """Tasks that it has grown for."""
        return len(self.embeddings)

    def grow(self, rng: torch.Generator, init: Literal["random", "previous"] = "random") -> None:
        """Add just the rows of one more task: drawn from `rng` (on the CPU), or copies of the last task's."""
        like = next(self.parameters())
        for _, rows in self.task_rows():
            rows.grow(rng, init, like)

    def task_parameters(self, task: int) -> list[str]:
        """Names of the parameters that belong to that task alone."""
        return [f"{path}.{task}" for path, rows in self.task_rows() if task < len(rows)]

    @overload
    def forward(self, tasks: Sequence[int] | Tensor, factored: Literal[False] = False) -> Tensors: ...
    @overload
    def forward(self, tasks: Sequence[int] | Tensor, factored: Literal[True]) -> list[Factor]: ...
    def forward(self, tasks: Sequence[int] | Tensor, factored: bool = False) -> Tensors | list[Factor]:
        """name → (T, *shape) for T tasks; with `factored`, the factors that `assemble` makes them of.

        `tasks` are task numbers, or an index tensor (T,) for tasks that were drawn at random. Always in the
        parameters' own precision, whatever autocast the target runs under: rounded weights would count as drift.
        """
        with full_precision(self):
            factors = self.factors(tasks)
        return factors if factored else self.assemble(factors)

    def assemble(self, factors: Sequence[Factor]) -> Tensors:
        """name → (T, *shape), in the order of `shapes`."""
        with full_precision(self):
            tensors = assemble(factors)
        return {name: tensors[name] for name in self.shapes}

    def task_rows(self) -> list[tuple[str, TaskRows]]:
        """What it keeps for each task, by name."""
        return [(path, module) for path, module in self.named_modules() if isinstance(module, TaskRows)]
