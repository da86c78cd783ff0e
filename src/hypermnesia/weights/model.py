"""The network of task t: a target module whose parameters are shared, stored, generated, masked or added to."""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors, map_tensors
from hypermnesia.weights.hypernets.base import Generator
from hypermnesia.weights.outputs import Head

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
        self.weights: Any = None
        """The options (`weights.options.Weights`) that it was built from, if it was: to build its like."""
        self.ramp = 1.0
        """What `compose` is given: the share of the first task's steps that are done, from 1 on in later tasks."""
        self._aliases = _aliases(target)
        self.resting = self._modules_at_rest()
        self._stored = [name for name, role in self.roles.items() if role == "per_task"]
        self._own_statistics = [
            _join(path, key)
            for path, module in target.named_modules()
            for key, _ in module.named_buffers(recurse=False)
            if statistics == "per_task" and module not in self.resting
        ]
        self.stores = bool(self._stored or self._own_statistics)  # values of tasks that no generator writes
        self._release_generated()
        self.register_state_dict_post_hook(self._without_meta)

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
            raise HypermnesiaError(
                "masked or added parameters need `compose`, for example weights.compose.SemiBinaryMask()"
            )

    def _modules_at_rest(self) -> dict[nn.Module, bool]:
        """Modules whose statistics rest once their parameters do → whether that is after the first task only.

        A module rests with its own parameters. One that has buffers alone, such as a batch norm without scale and
        offset, rests with the module registered before it, or else with the one that holds it.
        """
        found: dict[nn.Module, bool] = {}

        def visit(path: str, module: nn.Module, like: bool | None) -> bool | None:
            names = [_join(path, key) for key, _ in module.named_parameters(recurse=False)]
            own = [self.roles[self._aliases.get(name, name)] for name in names]
            if own:
                frozen = all(role in ("body", "frozen", "added") for role in own)
                like = "body" in own if frozen else None
            has_buffers = any(True for _ in module.buffers(recurse=False))
            if like is not None and (own or has_buffers):
                found[module] = like
            for key, child in module.named_children():
                like = visit(_join(path, key), child, like)
            return like

        visit("", self.target, None)
        return found

    def _release_generated(self) -> None:
        empty: dict[str, nn.Parameter] = {}
        for path, module in self.target.named_modules():
            for key, value in list(module.named_parameters(recurse=False)):
                name = self._aliases.get(_join(path, key), _join(path, key))
                if self.roles[name] == "generated":
                    meta = torch.empty(value.shape, dtype=value.dtype, device="meta")
                    empty.setdefault(name, nn.Parameter(meta, requires_grad=False))
                    module.register_parameter(key, empty[name])

    def get_extra_state(self) -> Tensor:
        """The number of tasks, which a `state_dict` carries so that a fresh model of this kind can load it."""
        return torch.tensor(self.num_tasks)

    def set_extra_state(self, state: Tensor) -> None:
        """Read before the parameters are, in `_load_from_state_dict`."""

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: Any,
        unexpected_keys: Any,
        error_msgs: Any,
    ) -> None:
        """Grow to as many tasks as were saved; what is generated has no values to load."""
        own = {f"{prefix}{name}": value for name, value in self.named_parameters() if value.is_meta}
        for name, value in own.items():
            state_dict.setdefault(name, value)
        count = int(state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state()))
        if count < self.num_tasks:
            error_msgs.append(
                f"the model has {self.num_tasks} tasks, and {count} were saved: load into a fresh one"
            )
        while self.num_tasks < count:
            self.begin_task(torch.Generator())
        self.to(next(value.device for value in self.parameters() if not value.is_meta))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    @staticmethod
    def _without_meta(model: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: Any) -> None:
        """Leave out of a `state_dict` what holds no memory."""
        for name, value in model.named_parameters(remove_duplicate=False):
            if value.is_meta:
                del state_dict[f"{prefix}{name}"]

    def __repr__(self) -> str:
        """The network, and what becomes of its parameters."""
        net, tasks = type(self.target).__name__, f"{self.num_tasks} task{'s' * (self.num_tasks != 1)}"
        head = "" if self.head is None else f", {self.head.width} outputs ({self.head.kind})"
        sizes = {name: value.numel() for name, value in self.target.named_parameters()}
        lines = [f"Model of {net}: {sum(sizes.values()):,} parameters{head}, {tasks}"]
        for role in dict.fromkeys(self.roles.values()):
            total = sum(sizes[name] for name, own in self.roles.items() if own == role)
            lines.append(f"  {role:<9} {total:>12,}")
        if self.generator is not None:
            own = sum(value.numel() for value in self.generator.parameters())
            lines.append(f"  written by {type(self.generator).__name__}: {own:,} parameters")
        return "\n".join(lines)

    @property
    def depends_on_task(self) -> bool:
        """Whether two tasks may get different logits for the same input."""
        sliced = self.head is not None and self.head.kind != "shared"
        return self.stores or sliced or (self.generator is not None and self.generator.differs)

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

    def set_progress(self, share: float) -> None:
        """Tell the share of the current task's steps, up to 1, that are done with the coming one: composed weights come
        in over those of the first task, as HyperMask's sparsity does."""
        ramp = share if self.compose is not None and self.num_tasks == 1 else 1.0
        if ramp != self.ramp:  # a module's attributes are slow to set
            self.ramp = ramp

    def train(self, mode: bool = True) -> "Model":
        """As `nn.Module.train`, but modules that are frozen by now stay in evaluation mode: their statistics rest."""
        super().train(mode)
        for module, after_first in self.resting.items() if mode else ():
            if self.num_tasks > 1 or not after_first:
                module.training = False  # of this module alone: what it holds may still train
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
        owners = (
            {name: t for t in range(self.num_tasks) for name in generator.task_parameters(t)}
            if generator
            else {}
        )
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
            if self.generator is not None and self.generator.rests(rest, rest in owners):
                return False
            return self.plastic_embeddings or owners.get(rest, current) == current
        role = self.roles[rest]
        if role == "masked":
            return self.base_trainable == "always" or (self.base_trainable == "first_task" and current == 0)
        return role == "shared" or (role == "body" and current == 0)

    def written(
        self, tasks: Sequence[int], values: Tensors | None = None, masks: Tensors | None = None
    ) -> Tensors:
        """The written parameters as the target uses them: name → (T, *shape).

        `values`: what the generator writes for `tasks`; `masks`: what `compose` makes of it, both if at hand already.
        """
        if self.generator is None:
            return {}
        values = self.generator(tasks) if values is None else dict(values)
        assert isinstance(values, dict)
        composed = {name for name in values if self.roles[name] != "generated"}
        if composed:
            assert self.compose is not None
            base: Tensors = {n: value for n, value in self.target.named_parameters() if n in composed}
            if masks is not None:
                return values | map_tensors(torch.mul, masks, base)
            values |= self.compose({name: values[name] for name in composed}, base, self.ramp)
        return values

    def overlay(self, task: int, values: Tensors | None = None, masks: Tensors | None = None) -> Tensors:
        """All values that task `task` puts in place of the target's own parameters and buffers.

        `values`: what the generator writes for it, name → (1, *shape), if that is at hand already; `masks`: as for `written`.
        """
        own = {name: value.squeeze(0) for name, value in self.written([task], values, masks).items()}
        if self._stored:
            own |= self.rows[task].tensors()  # pyright: ignore[reportCallIssue]
        if self._own_statistics:
            own |= self.statistics[task].tensors()  # pyright: ignore[reportCallIssue]
        return self._under_all_names(own)

    def _under_all_names(self, values: Tensors) -> Tensors:
        return values | {alias: values[name] for alias, name in self._aliases.items() if name in values}

    def forward(
        self,
        x: Tensor,
        task: int,
        *extra: Any,
        part: nn.Module | None = None,
        values: Tensors | None = None,
        masks: Tensors | None = None,
    ) -> Any:
        """`x` (B, …) → logits (B, active outputs of `task`). Extra arguments go to the target.

        `part`: a module to run in the target's place, such as its last stages; it shares their modules, under the
        names that they have in the target, and ends in the same outputs. `values`, `masks`: as for `overlay`.
        """
        return self.call(self.overlay(task, values, masks), x, task, *extra, part=part)

    def call(self, overlay: Tensors, x: Tensor, task: int, *extra: Any, part: nn.Module | None = None) -> Any:
        """As `forward`, with the overlay of `task` already at hand (it is built once per task in evaluation)."""
        module = self.target if part is None else part
        if part is not None:
            tensors = [*part.named_parameters(remove_duplicate=False), *part.named_buffers()]
            own = {name for name, _ in tensors}
            overlay = {name: value for name, value in overlay.items() if name in own}
        if overlay:
            output = functional_call(module, overlay, (x, *extra), tie_weights=False)
        else:
            output = module(x, *extra)
        if self.head is None:
            return output
        logits = logits_of(output)
        return logits if self.head.kind == "shared" else logits[:, self.head.columns(task)]

    def task_state(self, task: int) -> Tensors:
        """A `state_dict` of the plain target network as task `task` uses it; detached copies."""
        own = {
            n: v for n, v in [*self.target.named_parameters(), *self.target.named_buffers()] if not v.is_meta
        }
        with torch.no_grad():
            values = self._under_all_names(own | self.overlay(task))
            return {name: value.detach().clone() for name, value in values.items()}

    def stored(self) -> Tensors:
        """Every tensor that a deployed learner has to keep, by name."""
        items = [*self.named_parameters(), *self.named_buffers()]
        return {name: value for name, value in items if not value.is_meta}


def logits_of(output: Any) -> Tensor:
    """What a classifier returns, if it is a tensor; else its `logits`, which models of Hugging Face's transformers have.

    Raises `TypeError` for anything else.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise TypeError(f"{type(output).__name__}, expected a tensor of logits (B, outputs)")
    return logits


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _aliases(target: nn.Module) -> dict[str, str]:
    """Further names of parameters that two modules share (tied weights) → the name in `named_parameters`."""
    first = {parameter: name for name, parameter in target.named_parameters()}
    everywhere = target.named_parameters(remove_duplicate=False)
    return {name: first[p] for name, p in everywhere if name != first[p]}


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
