"""A hypernetwork by itself, for a training loop of one's own: the weights of a task, and how far those of others drifted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypermnesia.core import rng, tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.weights.distance import forms
from hypermnesia.weights.hypernets.base import GeneratorOptions, full_precision, without_noise
from hypermnesia.weights.hypernets.chunked import ChunkedOptions


@dataclass(frozen=True)
class Snapshot:
    """What a hypernetwork wrote for some tasks at one moment; see `Hypernetwork.snapshot`."""

    tasks: tuple[int, ...]
    form: str = "direct"
    """gram: the generator's factors are kept. direct: the weights."""
    held: Tensors | None = None
    """None: of no task."""


class Hypernetwork(nn.Module):
    """Writes the parameters of a network for each task (von Oswald et al. 2020): `hnet(task)` → name → tensor.

    `torch.func.functional_call(net, hnet(task), x)` is then the network of that task. `net` itself stays as it is and is no
    part of this module, whose parameters are the hypernetwork's alone.

    **Arguments.** `generator`: the options of a generator. `tasks`: embeddings to begin with; `grow` adds one more. `seed`
    draws them and the initial weights, as a run of that seed does. `only`: name patterns of the parameters that are
    written, all others staying the network's own; without it all are, but for the vectors where the generator writes
    matrices alone.
    """

    def __init__(
        self,
        net: nn.Module,
        generator: GeneratorOptions | None = None,
        tasks: int = 0,
        seed: int = 0,
        only: Sequence[str] = ("*",),
    ) -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            raise HypermnesiaError(
                f"Hypernetwork: expected a network, an nn.Module, got {type(net).__name__}; build it first, net(outputs)"
            )
        options = generator or ChunkedOptions()
        if options.condition != "free":
            raise HypermnesiaError(
                f"Hypernetwork: condition={options.condition!r} reads a task's samples, which this module never sees: take "
                "free, or model_for, whose models are given them by fit"
            )
        own = dict(net.named_parameters())
        shapes = {
            name: own[name].shape
            for name in tensors.matching(only, own)
            if own[name].ndim > 1 or not options.matrices_only
        }
        self.generator = options.build_for(net, shapes, rng.generator(seed, "generator"))
        self._rng = rng.generator(seed, "init")
        for _ in range(tasks):
            self.grow()

    @property
    def num_tasks(self) -> int:
        """Tasks that it has embeddings for."""
        return self.generator.num_tasks

    def grow(self) -> None:
        """Add the embedding of one more task; an optimizer has to be told of it."""
        self.generator.grow(self._rng)

    def trainable(self, task: int) -> list[nn.Parameter]:
        """What trains while `task` is learned: all but the embeddings of the other tasks, whose gradients are switched off.

        An optimizer over `parameters()` instead goes on training all embeddings, as hypnettorch's example does.
        """
        self._check([task])
        others = {
            name for j in range(self.num_tasks) if j != task for name in self.generator.task_parameters(j)
        }
        for name, parameter in self.generator.named_parameters():
            parameter.requires_grad_(name not in others)
        return [parameter for parameter in self.generator.parameters() if parameter.requires_grad]

    def forward(self, tasks: int | Sequence[int]) -> Tensors:
        """Of one task: name → (*shape). Of a sequence of T tasks: name → (T, *shape), in one batched pass."""
        if isinstance(tasks, int):
            self._check([tasks])
            return {name: value.squeeze(0) for name, value in self.generator([tasks]).items()}
        self._check(tasks)
        return self.generator(tasks)

    @torch.no_grad()
    def snapshot(self, tasks: Collection[int]) -> Snapshot:
        """What it writes for `tasks` now, without dropout and noise, for `drift` to hold later values against.

        Taken when a new task begins, of the tasks before it; kept as factors where the drift is cheaper by these.
        """
        own = tuple(tasks)
        self._check(own)
        if not own:
            return Snapshot(())
        with without_noise(self.generator):
            factors = self.generator(own, factored=True)
        if forms.choose(factors) == "gram":
            return Snapshot(own, "gram", forms.snapshot(factors))
        return Snapshot(own, "direct", tensors.copy(self.generator.assemble(factors)))

    def _check(self, tasks: Collection[int]) -> None:
        missing = [task for task in tasks if not 0 <= task < self.num_tasks]
        if missing:
            raise HypermnesiaError(
                f"the hypernetwork has {self.num_tasks} tasks and was asked for task {missing[0]}, counted from 0: make it "
                "with more, Hypernetwork(net, tasks=…), or call grow()"
            )


def drift(hnet: Hypernetwork, then: Snapshot, tasks: Sequence[int] | None = None) -> Tensor:
    """The mean over tasks j of ‖ h(e_j) − h(e_j)* ‖², h(e_j)* being what was written at the snapshot: a scalar.

    The squared norm runs over all written numbers (von Oswald et al. 2020, eq. 2, without the factor β). 0 for a snapshot of
    no task. `tasks`: some of the snapshot's, to compare these alone. Raises `HypermnesiaError` for others.
    """
    chosen = then.tasks if tasks is None else tuple(tasks)
    if unknown := [task for task in chosen if task not in then.tasks]:
        raise HypermnesiaError(
            f"drift: task {unknown[0]} is not in the snapshot, which holds {list(then.tasks)}"
        )
    if then.held is None or not chosen:
        return next(hnet.parameters()).new_zeros(())
    places = None if tasks is None else torch.tensor([then.tasks.index(task) for task in chosen])
    with full_precision(hnet):  # the distances are small differences: autocast would drown them
        if then.form == "gram":
            total = forms.gram(hnet.generator(chosen, factored=True), then.held, places)
        else:
            held = then.held if places is None else {name: v[places] for name, v in then.held.items()}
            total = forms.direct(hnet.generator(chosen), held).sum()
    return total / len(chosen)
