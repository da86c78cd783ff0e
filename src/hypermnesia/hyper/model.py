"""The network of task t: a target module whose parameters are shared, stored, generated, masked or added to."""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypermnesia.errors import HypermnesiaError
from hypermnesia.hyper.generator import Generator
from hypermnesia.hyper.head import Head
from hypermnesia.tensors import Tensors, matching

Role = Literal["shared", "body", "frozen", "per_task", "generated", "masked", "added"]
"""Where task t's value of a target parameter comes from.

shared: one trainable value for all tasks · body: trained with the first task, then frozen together with the
statistics of its modules · frozen: never trained · per_task: one stored value per task · generated: h(e_t) ·
masked: θ ⊙ mask(h(e_t)) · added: θ + h(e_t) with θ frozen.
"""
WRITTEN: tuple[Role, ...] = ("generated", "masked", "added")


class Compose(Protocol):
    """Turns what a generator wrote for the masked or added parameters into the weights that the target uses."""

    def __call__(self, written: Tensors, base: Tensors, ramp: float) -> Tensors:
        """`written` (T, *shape) by name, `base` (*shape) by name, `ramp` in 0..1 → weights (T, *shape)."""
        ...


def assign_roles(names: Sequence[str], rules: Sequence[tuple[str, Role]], default: Role) -> dict[str, Role]:
    """The role of every parameter name: the first rule whose pattern matches, else `default`.

    Raises `HypermnesiaError` when a pattern matches nothing, listing the names that exist.
    """
    roles: dict[str, Role] = dict.fromkeys(names, default)
    for pattern, role in reversed(rules):
        roles.update(dict.fromkeys(matching([pattern], names), role))
    return roles


class TensorSlots(nn.Module):
    """Tensors under the dotted names of another module (an `nn.Module` attribute may not hold a dot)."""

    def __init__(self, tensors: Mapping[str, Tensor], trainable: bool) -> None:
        super().__init__()
        for name, value in tensors.items():
            copy = value.detach().clone()
            if trainable:
                self.register_parameter(name.replace(".", "/"), nn.Parameter(copy))
            else:
                self.register_buffer(name.replace(".", "/"), copy)

    def tensors(self) -> Tensors:
        """name → tensor."""
        items = [*self._parameters.items(), *self._buffers.items()]
        return {name.replace("/", "."): value for name, value in items if value is not None}


class Model(nn.Module):
    """A target network and the weights that each task uses; called `model(x, task)` → logits of the active outputs.

    Starts without tasks: `begin_task` adds the rows of one more. Parameters that are generated hold no memory in
    the target (they lie on the meta device there), so nothing can use them by accident.

    **Arguments.** `target`: any module that `torch.func.functional_call` accepts. `head`: labels of its outputs, or
    None for a network that is no classifier. `roles`: a `Role` for every target parameter (default: all shared).
    `generator`: writes the parameters whose role is generated, masked or added. `compose`: how written values meet
    the target's own ones for masked and added roles. `statistics`: whether buffers such as batch-norm's running
    statistics are kept per task, outside frozen modules. `base_trainable`: when masked base values θ train.
    `embedding_init`: start of a new task's embedding. `plastic_embeddings`: whether old ones go on training.
    """

    def __init__(
        self,
        target: nn.Module,
        head: Head | None,
        roles: Mapping[str, Role] | None = None,
        generator: Generator | None = None,
        compose: Compose | None = None,
        statistics: Literal["shared", "per_task"] = "shared",
        base_trainable: Literal["always", "first_task", "never"] = "always",
        embedding_init: Literal["random", "previous"] = "random",
        plastic_embeddings: bool = False,
    ) -> None:
        super().__init__()
        names = [name for name, _ in target.named_parameters()]
        self.roles: dict[str, Role] = dict(roles) if roles is not None else dict.fromkeys(names, "shared")
        self._check(names, generator, compose)
        self.target, self.head, self.generator, self.compose = target, head, generator, compose
        self.base_trainable = base_trainable
        self.embedding_init: Literal["random", "previous"] = embedding_init
        self.plastic_embeddings = plastic_embeddings
        self.rows, self.statistics = nn.ModuleList(), nn.ModuleList()
        self.num_tasks = 0
        self.ramp = 1.0
        self._frozen_modules = self._modules_with({"body", "frozen", "added"})
        self._stored = [name for name, role in self.roles.items() if role == "per_task"]
        frozen = {id(m) for _, m in self._frozen_modules}
        self._own_statistics = [
            f"{path}.{key}" if path else key
            for path, module in target.named_modules()
            for key, value in module.named_buffers(recurse=False)
            if statistics == "per_task" and id(module) not in frozen
        ]
        self._release_generated()

    def _check(self, names: list[str], generator: Generator | None, compose: Compose | None) -> None:
        if set(self.roles) != set(names):
            odd = sorted(set(self.roles) ^ set(names))
            raise HypermnesiaError(f"roles and the target's parameters differ in: {', '.join(odd)}")
        written = {name for name, role in self.roles.items() if role in WRITTEN}
        writes = set(generator.shapes) if generator is not None else set()
        if written != writes:
            odd = sorted(written ^ writes)
            raise HypermnesiaError(
                f"the generator must write exactly the parameters whose role is {', '.join(WRITTEN)}; "
                f"the two differ in: {', '.join(odd)}"
            )
        if compose is None and any(role in ("masked", "added") for role in self.roles.values()):
            raise HypermnesiaError("masked or added parameters need `compose`, for example hyper.SemiBinaryMask()")

    def _modules_with(self, roles: set[str]) -> list[tuple[str, nn.Module]]:
        """Modules all of whose own parameters have one of the roles; they keep their statistics once frozen."""
        found = []
        for path, module in self.target.named_modules():
            own = [f"{path}.{key}" if path else key for key, _ in module.named_parameters(recurse=False)]
            if own and all(self.roles[name] in roles for name in own):
                found.append((path, module))
        return found

    def _release_generated(self) -> None:
        for path, module in self.target.named_modules():
            for key, value in list(module.named_parameters(recurse=False)):
                if self.roles[f"{path}.{key}" if path else key] == "generated":
                    empty = torch.empty(value.shape, dtype=value.dtype, device="meta")
                    module.register_parameter(key, nn.Parameter(empty, requires_grad=False))

    @property
    def depends_on_task(self) -> bool:
        """Whether two tasks may get different logits for the same input."""
        sliced = self.head is not None and self.head.kind != "shared"
        return bool(self.generator or self._stored or self._own_statistics or sliced)

    def begin_task(self, rng: torch.Generator) -> None:
        """Add the rows of one more task: its embedding, stored parameters and statistics."""
        if self.generator is not None:
            start = self.embedding_init if self.num_tasks else "random"
            self.generator.grow(rng, start)
        values = OrderedDict([*self.target.named_parameters(), *self.target.named_buffers()])
        if self._stored:
            self.rows.append(TensorSlots({name: values[name] for name in self._stored}, trainable=True))
        if self._own_statistics:
            fresh = {name: values[name] for name in self._own_statistics}
            self.statistics.append(TensorSlots(fresh, trainable=False))
        self.num_tasks += 1
        self.train(self.training)

    def train(self, mode: bool = True) -> "Model":
        """As `nn.Module.train`, but modules that are frozen by now stay in evaluation mode: their statistics rest."""
        super().train(mode)
        for path, module in self._frozen_modules if mode else ():
            own = [f"{path}.{key}" if path else key for key, _ in module.named_parameters(recurse=False)]
            if self.num_tasks > 1 or all(self.roles[name] != "body" for name in own):
                module.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Model":
        """Moves and casts pass generated parameters by: they have no values to move."""
        return super()._apply(lambda tensor: tensor if tensor.is_meta else fn(tensor), recurse)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train in the current task, by name; all others are switched to `requires_grad=False`."""
        if not self.num_tasks:
            raise HypermnesiaError("the model has no task yet: call begin_task first")
        current = self.num_tasks - 1
        generator = self.generator
        owners = {name: t for t in range(self.num_tasks) for name in generator.task_parameters(t)} if generator else {}
        chosen = {}
        for name, parameter in self.named_parameters():
            trains = self._trains(name, current, owners)
            parameter.requires_grad_(trains)
            if trains:
                chosen[name] = parameter
        return chosen

    def _trains(self, name: str, current: int, owners: Mapping[str, int]) -> bool:
        part, _, rest = name.partition(".")
        if part == "rows":
            return rest.startswith(f"{current}.")
        if part == "generator":
            return self.plastic_embeddings or owners.get(rest, current) == current
        role = self.roles[rest]
        if role == "masked":
            return self.base_trainable == "always" or (self.base_trainable == "first_task" and current == 0)
        return role == "shared" or (role == "body" and current == 0)

    def written(self, tasks: Sequence[int]) -> Tensors:
        """The written parameters as the target uses them: name → (T, *shape)."""
        if self.generator is None:
            return {}
        values = self.generator(tasks)
        assert isinstance(values, dict)
        composed = {name for name in values if self.roles[name] != "generated"}
        if composed:
            assert self.compose is not None
            base: Tensors = {n: value for n, value in self.target.named_parameters() if n in composed}
            values |= self.compose({name: values[name] for name in composed}, base, self.ramp)
        return values

    def overlay(self, task: int) -> Tensors:
        """All values that task `task` puts in place of the target's own parameters and buffers."""
        values = {name: value[0] for name, value in self.written([task]).items()}
        if self._stored:
            values |= self.rows[task].tensors()  # pyright: ignore[reportCallIssue]
        if self._own_statistics:
            values |= self.statistics[task].tensors()  # pyright: ignore[reportCallIssue]
        return values

    def forward(self, x: Tensor, task: int, *extra: Any, part: nn.Module | None = None) -> Any:
        """`x` (B, …) → logits (B, active outputs of `task`). Extra arguments go to the target.

        `part`: a module to run in the target's place, such as its last stages; it shares their modules, under the
        names that they have in the target, and ends in the same outputs.
        """
        return self.call(self.overlay(task), x, task, *extra, part=part)

    def call(self, overlay: Tensors, x: Tensor, task: int, *extra: Any, part: nn.Module | None = None) -> Any:
        """As `forward`, with the overlay of `task` already at hand (it is built once per task in evaluation)."""
        module = self.target if part is None else part
        if part is not None:
            own = {name for name, _ in [*part.named_parameters(), *part.named_buffers()]}
            overlay = {name: value for name, value in overlay.items() if name in own}
        if overlay:
            output = functional_call(module, overlay, (x, *extra), tie_weights=False)
        else:
            output = module(x, *extra)
        return output if self.head is None or self.head.kind == "shared" else output[:, self.head.columns(task)]

    def task_state(self, task: int) -> Tensors:
        """A `state_dict` of the plain target network as task `task` uses it; detached copies."""
        own = {n: v for n, v in [*self.target.named_parameters(), *self.target.named_buffers()] if not v.is_meta}
        with torch.no_grad():
            return {name: value.detach().clone() for name, value in (own | self.overlay(task)).items()}

    def stored(self) -> Tensors:
        """Every tensor that a deployed learner has to keep, by name."""
        items = [*self.named_parameters(), *self.named_buffers()]
        return {name: value for name, value in items if not value.is_meta}


def network(model: Model, task: int) -> Callable[[Tensor], Tensor]:
    """The function x → logits of one task, its weights built once; for evaluation."""
    overlay = model.overlay(task)
    return lambda x: model.call(overlay, x, task)


@contextlib.contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """The model in evaluation mode within the block, in its former mode after it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
