"""What a method sees: batches, networks with bound parameters, the learner, and phases of training."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.tensors import Tensors, under_prefix
from hypermnesia.data import Preprocess, Target, Task
from hypermnesia.nets.stages import classifier_inputs
from hypermnesia.weights.compose import SemiBinaryMask
from hypermnesia.weights.hypernets.factors import Factor, split
from hypermnesia.weights.model import Model, evaluating

if TYPE_CHECKING:
    from hypermnesia.methods.base import Method

_AT_ONCE = 256
"""Samples that are answered in one pass; changes no result beyond rounding."""


@dataclass(frozen=True)
class Batch:
    """What a step learns from: B samples of one task."""

    x: Tensor
    """(B, …) what the network sees: normalised and augmented."""
    y: Tensor
    """(B,) int64, global class ids; or float32, the numbers to be told, standardised."""
    target: Tensor
    """(B,) int64, position of y among the model's active outputs of `task`; or the numbers themselves."""
    task: int
    raw: Tensor
    """(B, …) the samples before augmentation, as a memory stores them (uint8 images)."""


@dataclass(frozen=True)
class Aux:
    """What a loss hands out beside its value."""

    terms: Mapping[str, Tensor] = field(default_factory=dict)
    """Named parts of the loss (scalars, detached), for display."""
    logits: Tensor | None = None
    """(B, outputs) logits of the batch, detached, for methods that remember them."""


class Net:
    """A model with its parameters bound: what a loss sees. Called `net(x, task)` → logits (B, active outputs).

    Without `params` it is the model itself, with no overhead; with them it is a pure function of the given tensors.
    `part`: the last stages of the target, where inputs are what the stages before make of samples.
    """

    def __init__(
        self,
        model: Model,
        params: Tensors | None = None,
        buffers: Tensors | None = None,
        part: nn.Module | None = None,
    ) -> None:
        self.model, self.part = model, part
        self._params, self._buffers = params, buffers or {}
        self._own: Tensors | None = None
        self._tensors: dict[tuple[int, ...], Tensors] = {}
        self._factors: dict[tuple[int, ...], list[Factor]] = {}
        self._masks: dict[tuple[int, ...], Tensors] = {}

    @property
    def params(self) -> Tensors:
        """The trainable parameters, by name."""
        if self._params is not None:
            return self._params
        if self._own is None:  # kept by hand: cached_property takes a lock, which torch.compile does not know
            self._own = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        return self._own

    def __call__(self, x: Tensor, task: int, *extra: Any, part: nn.Module | None = None) -> Any:
        """Logits as `Model.forward` gives them, at the bound parameters."""
        values, part = self._tensors.get((task,)), part or self.part
        shared = values is not None and isinstance(self.model.compose, SemiBinaryMask)
        masks = self.masks((task,)) if shared else None
        if self._params is None:
            return self.model(x, task, *extra, part=part, values=values, masks=masks)
        given = {"part": part, "values": values, "masks": masks}
        return functional_call(
            self.model, self._buffers | self._params, (x, task, *extra), given, tie_weights=False
        )

    def at(self, params: Tensors, buffers: Tensors | None = None) -> "Net":
        """This network at other parameter values (names that are not given keep the model's own)."""
        return Net(self.model, self.params | params, self._buffers if buffers is None else buffers, self.part)

    def generate(self, tasks: Sequence[int], factored: bool = False) -> Tensors | list[Factor]:
        """What the generator writes for `tasks`, at the bound parameters."""
        held = (self._factors if factored else self._tensors).get(tuple(tasks))
        return self._generated(tasks, factored) if held is None else held

    def masks(self, tasks: Sequence[int]) -> Tensors:
        """The masks of `tasks`, (T, *shape) by name of the masked parameters; made once where `writing` holds what they are
        made of."""
        compose, key = self.model.compose, tuple(tasks)
        if key not in self._masks:
            written = self.generate(tasks)
            assert isinstance(written, dict) and isinstance(compose, SemiBinaryMask)
            own = {name: h for name, h in written.items() if self.model.roles[name] == "masked"}
            found = compose.mask(own, self.model.ramp)
            if key not in self._tensors:
                return found
            self._masks[key] = found
        return self._masks[key]

    def writing(self, *reads: "WeightRequest") -> "Net":
        """This network with one generator pass for all that is listed, which `generate` and calls then find done."""
        net = Net(self.model, self._params, self._buffers, self.part)
        net._own = self._own
        whole, factored = ([r.tasks for r in reads if r.factored is kind] for kind in (False, True))
        sizes = [len(tasks) for tasks in (*whole, *factored)]
        factors = self._generated([task for tasks in (*whole, *factored) for task in tasks], factored=True)
        assert isinstance(factors, list) and self.model.generator is not None
        together, *apart = split(factors, [sum(sizes[: len(whole)]), *sizes[len(whole) :]])
        net._factors = dict(zip(factored, apart, strict=True))
        tensors = self.model.generator.assemble(together)
        if len(whole) == 1:
            net._tensors = {whole[0]: tensors}
        else:
            pieces = {name: value.split(sizes[: len(whole)]) for name, value in tensors.items()}
            net._tensors = {tasks: {n: p[i] for n, p in pieces.items()} for i, tasks in enumerate(whole)}
        return net

    def _generated(self, tasks: Sequence[int], factored: bool) -> Tensors | list[Factor]:
        assert self.model.generator is not None
        if self._params is None:
            return self.model.generator(tasks, factored)
        bound = under_prefix("generator.", self._buffers | self._params)
        return functional_call(self.model.generator, bound, (tasks, factored), tie_weights=False)

    def features(self, x: Tensor, task: int) -> tuple[Tensor, Tensor]:
        """(features, logits): the input of the target's last linear layer (B, d), and the logits."""
        with classifier_inputs(self.model.target) as seen:
            logits = self(x, task)
        return seen[-1], logits

    def gradients(self, loss: Tensor, create_graph: bool = False) -> Tensors:
        """∂loss/∂params by name; parameters that the loss does not reach are absent."""
        if not loss.requires_grad:
            return {}
        found = torch.autograd.grad(
            loss, list(self.params.values()), create_graph=create_graph, allow_unused=True
        )
        return {name: g for name, g in zip(self.params, found, strict=True) if g is not None}


@dataclass(frozen=True)
class WeightRequest:
    """Tasks whose generated weights a step reads together."""

    tasks: tuple[int, ...]
    factored: bool = False
    """Whether as factors, which are not multiplied out."""


class Samples(Protocol):
    """What a phase trains on: a task's part, or what a method remembers."""

    def __len__(self) -> int: ...

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (B,) → raw samples (B, …), global class ids (B,)."""
        ...


@dataclass(frozen=True)
class Phase:
    """One stretch of training within a task; `fit` runs a task's phases in order."""

    name: str = "train"
    model: str = "main"
    """Which of the learner's models trains."""
    data: Callable[[Any, "Learner"], Samples] | None = None
    """What it trains on: a function of the method's state and the learner, asked when the phase begins. None: the task."""
    beside: Callable[[Any, "Learner"], Samples] | None = None
    """What joins those samples, asked likewise; an epoch is then as much longer."""
    trains: bool = True
    """False: batches are only shown to `after_step`, no parameter moves."""
    restart: bool = False
    """Whether the model starts from fresh initial parameters."""
    iterations: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    optimizer: OptimizerOptions | None = None
    """None: as the run's own settings."""


@dataclass(frozen=True)
class TaskScores:
    """What an inference says of B samples."""

    guess: Tensor
    """(B,) int64: the task each sample is taken for."""
    local: Tensor
    """(B,) int64: the answer, as a position among that task's active outputs."""
    scores: tuple[Tensor, ...]
    """One (B, active outputs) for each task that was tried: of the guessed task's the answer has the most."""
    comparable: bool = False
    """Whether the scores of different tasks are on one scale, so that the answer has the most of all of them."""


class Inference(Protocol):
    """A way to infer the task. Stateless ones ignore `state`; others gather statistics at each task's end,
    and until then, when asked in the middle of a task, guess among the finished ones.

    What a sample is taken for depends on that sample and the learner alone, never on the rest of its batch.
    """

    def init(self, learner: "Learner") -> Any:
        """First state: a dataclass of tensors and numbers, or None."""
        ...

    def end_task(self, state: Any, learner: "Learner", task: Task) -> Any:
        """State after a task, whose training part may be read for the last time."""
        ...

    def scores(self, state: Any, learner: "Learner", overlays: Sequence[Tensors], x: Tensor) -> TaskScores:
        """Guess among the tasks so far, for a batch `x` (B, …); `overlays` holds each task's weights."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a learner says of B samples."""

    classes: Tensor
    """(B,) int64 global class ids; −1 where an output has the most that stands for no class (`weights.head_width`)."""
    scores: Tensor
    """(B, classes of the stream) by global class id, −∞ for those that were not looked for; their softmax is the
    learner's confidence, of which the answer has the most (unless it is −1)."""
    tasks: Tensor | None
    """(B,) int64: the task, given or inferred, whose classes were looked for; None: all classes seen."""
    strange: Tensor | None = None
    """(B,) bool: which samples are like none of the learned classes; None: the method cannot tell."""


@dataclass
class Learner:
    """What has been learned, and what a method sees of it: the models, the method and the inference of the task with
    what they have gathered, and where in the stream it is."""

    models: dict[str, Model]
    preprocess: Preprocess
    """raw samples → network input; augments when a random generator is given."""
    shape: tuple[int, ...]
    """Shape of one raw sample."""
    num_classes: int
    classes: tuple[tuple[int, ...], ...]
    """Global class ids of every task of the stream; a method reads only those up to `task`."""
    boundaries: bool = True
    """False: the stream does not tell where one task ends."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    method: "Method | None" = None
    """None: the networks answer by themselves, untrained."""
    state: Any = None
    """The method's, of which the functions of a method are given their own part."""
    inference: Inference | None = None
    inference_state: Any = None
    task: int = -1
    phase: Phase = field(default_factory=Phase)
    progress: float = 0.0
    """Share of the phase's steps that are done, 0..1."""
    dtype: torch.dtype = torch.uint8
    """Of raw samples: uint8 images, int64 tokens, float32 vectors."""
    target: Target | None = None
    """What the numbers are, where numbers are told and not classes."""

    @property
    def model(self) -> Model:
        return self.models["main"]

    @property
    def seen_classes(self) -> tuple[int, ...]:
        """Global class ids of the tasks begun so far, in order of appearance."""
        return self._classes_before(self.task + 1)

    @property
    def earlier_classes(self) -> tuple[int, ...]:
        """Those of the tasks before the current one."""
        return self._classes_before(self.task)

    def _classes_before(self, task: int) -> tuple[int, ...]:
        return tuple(dict.fromkeys(c for classes in self.classes[:task] for c in classes))

    def mask(self, classes: Collection[int]) -> Tensor:
        """(num_classes,) bool: which are among `classes`."""
        found = torch.zeros(self.num_classes, dtype=torch.bool, device=self.device)
        found[list(classes)] = True
        return found

    def targets(self, y: Tensor, task: int) -> Tensor:
        """Class ids (B,) as positions among the active outputs of a task."""
        assert self.model.head is not None
        return self.model.head.targets(y, task)

    def overlays(self) -> list[Tensors]:
        """The weights of each task so far, of the first one before any has begun: built once for many batches."""
        return [self.model.overlay(task) for task in range(max(self.task, 0) + 1)]

    def scores(self, x: Tensor, task: int, overlay: Tensors | None = None) -> Tensor:
        """(B, active outputs of `task`) for network input `x` (B, …): the method's own scores, or else logits.

        `overlay`: the task's weights, if they are at hand.
        """
        own = None if self.method is None else self.method.scores(self.state, self, x, task)
        if own is not None:
            return own
        return self.model(x, task) if overlay is None else self.model.call(overlay, x, task)

    @torch.no_grad()
    def answer(self, raw: Tensor, task: int | None = None, classes: Sequence[int] | None = None) -> Answer:
        """The classes of raw samples (B, …) as the stream has them: uint8 images, or int64 tokens.

        `task` (from 0): whose classes to look for, by its weights. None: the task is inferred where the weights depend on
        it; else all classes seen so far are looked for. `classes`: global ids to look for in place of the task's.
        Raises `HypermnesiaError` for a task that was not learned.
        """
        if task is not None and not 0 <= task <= self.task:
            raise HypermnesiaError(f"there is no task {task}: the learner has tasks 0 to {self.task}")
        if self.target is not None:
            raise HypermnesiaError(
                f"this run has learned to tell numbers ({self.target.name}), and knows no classes: ask in Python, "
                "hm.open_run(DIR).predict(x)"
            )
        with evaluating(self.model):
            overlays = self.overlays()
            found = [self._answer(part, task, classes, overlays) for part in raw.split(_AT_ONCE)]
            strange = [self._strange(part) for part in raw.split(_AT_ONCE)]
        tasks = [part.tasks for part in found if part.tasks is not None]
        ids, scores = (torch.cat([getattr(part, name) for part in found]) for name in ("classes", "scores"))
        told = [part for part in strange if part is not None]
        return Answer(ids, scores, torch.cat(tasks) if tasks else None, torch.cat(told) if told else None)

    def _strange(self, raw: Tensor) -> Tensor | None:
        if self.method is None:
            return None
        return self.method.strange(self.state, self, self.preprocess(raw.to(self.device), None))

    def answer_at_once(self, raw: Tensor, overlays: Sequence[Tensors]) -> Answer:
        """As `answer` over all classes, in one pass, with the models in evaluation mode and their weights at hand."""
        return self._answer(raw, None, None, overlays)

    def _answer(
        self, raw: Tensor, task: int | None, classes: Sequence[int] | None, overlays: Sequence[Tensors]
    ) -> Answer:
        x = self.preprocess(raw.to(self.device), None)
        if task is None and self.model.depends_on_task and len(overlays) > 1:
            return self._inferred(x, overlays)
        owner = self.task if task is None or not self.model.depends_on_task else task
        if classes is None:
            classes = self.seen_classes if task is None else self.classes[task]
        ids = torch.tensor(classes, device=x.device)
        scores = torch.full((x.shape[0], self.num_classes), -torch.inf, device=x.device)
        scores[:, ids] = self.scores(x, owner, overlays[owner])[:, self.targets(ids, owner)].to(scores)
        tasks = None if task is None else torch.full((x.shape[0],), task, device=x.device)
        return Answer(scores.argmax(1), scores, tasks)

    def _inferred(self, x: Tensor, overlays: Sequence[Tensors]) -> Answer:
        """Each sample by the task that it is taken for. No step depends on a tensor's values: `export` records them."""
        head = self.model.head
        assert self.inference is not None and head is not None
        found = self.inference.scores(self.inference_state, self, overlays, x)
        scores = torch.full((x.shape[0], self.num_classes), -torch.inf, device=x.device)
        answers = torch.zeros_like(found.guess)
        for task, own in enumerate(found.scores):
            ids = torch.tensor(head.outputs(task), device=x.device)
            taken = found.guess == task
            answers = torch.where(taken, ids[found.local.clamp(max=len(ids) - 1)], answers)
            own = own.to(scores) if found.comparable else own.to(scores).where(taken[:, None], -torch.inf)
            classes = ids[ids >= 0]
            scores[:, classes] = torch.maximum(scores[:, classes], own[:, ids >= 0])
        return Answer(answers, scores, found.guess)


@dataclass(frozen=True)
class Step:
    """What a step learned from, and what the optimizer did with it; in a phase that trains nothing, it did nothing."""

    batch: Batch
    draw: Any = None
    aux: Aux = field(default_factory=Aux)
    before: Tensors = field(default_factory=dict)
    """The trained parameters before the step, by name; empty unless somebody watches them."""
    after: Tensors = field(default_factory=dict)
    """The trained parameters after it: the model's own."""
    gradients: Tensors = field(default_factory=dict)
    """By name, before clipping; those of the whole loss, penalties included."""
