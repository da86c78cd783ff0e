"""What a continual-learning method is, and what a penalty is that joins one (see `combine`)."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import check_options
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Step, WeightRequest
from hypermnesia.methods.replay.buffer import OWNERS, of_owner
from hypermnesia.methods.stages import Ahead, Gradients, Lookahead, Stage, gradients
from hypermnesia.weights.model import Model


class Method:
    """A continual-learning method: a frozen dataclass of hyper-parameters with functions over an explicit state.

    `loss` is every method's own; the rest has the default that is stated. `loss` is pure in
    the net's parameters and buffers, the state's tensors, the batch and the draw: no `.item()`, no in-place
    writes, no Python branch on a tensor's value, and no randomness, which lives in `draw` alone. That makes resume
    exact, compiling possible, and several seeds one stacked program.
    """

    watches_parameters: ClassVar[bool] = False
    """Whether `after_step` reads `step.before`, which costs a copy of the parameters in each step."""
    only_passes_input: ClassVar[bool] = False
    """Whether it does nothing with a batch's input but to pass it through the net in `loss`: then a frozen body's features
    can stand for it."""
    answers_ahead: ClassVar[bool] = True
    """Whether it has an answer among classes of which it has seen nothing yet, as a network's outputs have."""
    tells_numbers: ClassVar[bool] = False
    """Whether it learns numbers as well as classes: its loss is what `fitting` gives for the targets (task=regression)."""
    trains_reader: ClassVar[bool] = False
    """Whether it trains what computes task embeddings from samples (`generator.condition=set`)."""
    fills_at_task_end: ClassVar[bool] = False
    """Whether it takes `memory.fill=task`: methods that keep whatever comes by, and not a choice of their own."""
    policies: ClassVar[tuple[str, ...]] = ()
    """Those of `memory.policy` that go by more than the samples and that it can follow; all others any method can."""
    written_models: ClassVar[tuple[str, ...]] = ()
    """Those of `extra_models` whose weights a generator writes. A drift penalty has to hold each, or they forget; a
    configuration adds it (section `drift_NAME`), `combine` on its own does not."""

    def __post_init__(self) -> None:
        """Check the options. `memory=200` is a memory of 200 samples, all else as the method has it by default."""
        memory = getattr(self, "memory", None)
        if isinstance(memory, int) and not isinstance(memory, bool):
            [own] = (f.default for f in fields(self) if f.name == "memory")  # pyright: ignore[reportArgumentType]
            object.__setattr__(self, "memory", replace(own, size=memory))  # pyright: ignore[reportArgumentType, reportCallIssue]
        elif hasattr(self, "memory") and not is_dataclass(memory):
            raise HypermnesiaError(
                f"{type(self).__name__}(memory={memory!r}): expected a number of samples, or MemoryOptions(size=200)"
            )
        check_options(self, "method")
        memory = getattr(self, "memory", None)
        policy = getattr(memory, "policy", None)
        if policy in OWNERS and policy not in self.policies:
            raise of_owner(policy)
        if getattr(memory, "fill", None) == "task" and not self.fills_at_task_end:
            raise HypermnesiaError(
                f"{type(self).__name__.lower()}: memory.fill=task is for replay that keeps whatever comes by (er, der, derpp, "
                "er-ace, mir, hcr); this method fills its memory in its own way: leave memory.fill=step"
            )

    @property
    def needs_boundaries(self) -> bool:
        """Whether the method must be told where one task ends and the next begins. Default: if it has an `end_task`."""
        return type(self).end_task is not Method.end_task

    @property
    def custom_gradients(self) -> bool:
        """Whether `gradients` is more than the gradient of `loss`."""
        return not self.staged or type(self).stages is not Method.stages

    @property
    def staged(self) -> bool:
        """Whether `stages` say all of `gradients`, so that several runs can be one program."""
        return type(self).gradients is Method.gradients

    @property
    def held_models(self) -> frozenset[str]:
        """Those of the learner's models that something holds where they were. Default: none."""
        return frozenset()

    def check(self, stream: Stream) -> None:
        """Raise `HypermnesiaError` for a stream that the method cannot learn from."""
        if self.needs_boundaries and not stream.boundaries:
            raise without_boundaries(type(self).__name__, stream)
        if stream.target is not None and not self.tells_numbers:
            raise of_classes_alone(type(self).__name__)

    def extra_models(self, stream: Stream, seed: int) -> dict[str, Model]:
        """Models beside the main one, by name, freshly initialised from `seed`. Default: none."""
        return {}

    def init(self, learner: Learner) -> Any:
        """The first state, before any task: a dataclass of tensors, numbers and nested states, or None."""
        return None

    def begin_task(self, state: Any, learner: Learner) -> Any:
        """State at a task's start. The models have grown by it; where it brings classes that the stream did not have
        before, `learner` counts them already and a shared head has outputs for them. Default: unchanged."""
        return state

    def see_task(self, state: Any, learner: Learner, task: Task) -> Any:
        """State at a task's start, after `begin_task`, with `task.train` at hand. Default: unchanged."""
        return state

    def phases(self, learner: Learner) -> Sequence[Phase]:
        """The phases of `learner.task`, by which a run also knows beforehand what it has to keep. Default: one on the
        task's samples, of the run's own length."""
        return (Phase(),)

    def draw(self, state: Any, learner: Learner, batch: Batch, rng: torch.Generator) -> Any:
        """Every random choice of one step, and what is rehearsed in it. Default: nothing."""
        return None

    def draw_together(
        self, states: Sequence[Any], learners: Sequence[Learner], rngs: Sequence[torch.Generator]
    ) -> tuple[Any, Sequence[Any]] | None:
        """What `draw` makes for each of several runs, to the bit: as one, whose tensors have the runs as a first axis, and each
        run's own. None, before anything is drawn, where each has to draw by itself. Default: that."""
        return None

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        """The scalar to minimise and its auxiliary outputs."""
        raise NotImplementedError

    def stages(self) -> Sequence[Stage]:
        """What a step's gradient is made of, one after the other. Default: the gradient of `loss`."""
        return (Stage(self._alone),)

    def _alone(
        self, net: Net, state: Any, batch: Batch, draw: Any, gradient: Tensors, candidate: Lookahead
    ) -> tuple[Sequence[Tensor], Aux]:
        value, aux = self.loss(net, state, batch, draw)
        return [value], aux

    def gradients(self, net: Net, state: Any, batch: Batch, draw: Any, candidate: Lookahead) -> Gradients:
        """(gradients by name, loss, aux). Default: by `stages`; only what they cannot say needs its own."""
        if self.custom_gradients:
            return gradients(self.stages(), net, state, batch, draw, candidate)
        value, aux = self.loss(net, state, batch, draw)  # one stage, at less cost
        return net.gradients(value), value.detach(), aux

    def after_step(self, state: Any, learner: Learner, step: Step, rng: torch.Generator) -> Any:
        """State after a step (a memory may write into its own storage). Default: unchanged."""
        return state

    def end_task(self, state: Any, learner: Learner, task: Task, rng: torch.Generator) -> Any:
        """State after a task's last step; `task.train` may be read once more. Default: unchanged."""
        return state

    def forget(self, state: Any, learner: Learner, x: Tensor, y: Tensor) -> Any:
        """State as if the samples x (N, …), as the network sees them, of classes y (N,) had never been shown. Default: it
        cannot be done."""
        raise HypermnesiaError(
            f"{type(self).__name__.lower()} cannot take classes out again: what it learned of them is spread over its weights. "
            "Classifiers in closed form can (hypermnesia list approaches)"
        )

    def scores(self, state: Any, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """(B, active outputs) scores in place of logits, as iCaRL's nearest mean; None (default) = the logits."""
        return None

    def network(self, state: Any, learner: Learner) -> nn.Module | None:
        """What gives the `scores` of x (B, …), as a module by itself that `torch.export` can trace. Default: there is none."""
        return None

    def strange(self, state: Any, learner: Learner, x: Tensor) -> Tensor | None:
        """(B,) bool: which of the samples x (B, …) are like no class that was learned; None (default): it cannot tell."""
        return None


class Penalty:
    """Something that holds weights where they were: joins any method by value."""

    name: ClassVar[str]
    tells_numbers: ClassVar[bool] = False
    """Whether it holds what has learned numbers as well as what has learned classes."""
    holds: str = "main"
    """Which of the learner's models it holds; it takes part in that model's phases only."""

    def __post_init__(self) -> None:
        check_options(self, self.name)

    @property
    def watches_parameters(self) -> bool:
        """Whether it follows the steps, for which the parameters before each are kept."""
        return type(self).after_step is not Penalty.after_step

    def init(self, learner: Learner) -> Any:
        """First state, before any task."""
        return None

    def begin_task(self, state: Any, learner: Learner) -> Any:
        """State at a task's start, as `Method.begin_task`: snapshots are taken here."""
        return state

    def see_task(self, state: Any, learner: Learner, task: Task) -> Any:
        """State at a task's start, as `Method.see_task`: what the task added to the model may be set here."""
        return state

    def draw(self, state: Any, learner: Learner, batch: Batch, rng: torch.Generator) -> Any:
        """Random choices of one step. Default: none."""
        return None

    def value(self, net: Net, state: Any, draw: Any) -> Tensor | None:
        """The weighted penalty, a scalar; None when there is nothing to hold yet."""
        raise NotImplementedError

    def reads(self, state: Any, draw: Any) -> WeightRequest | None:
        """What `value` asks the generator for, so that one pass serves it and the method. Default: not known."""
        return None

    def after_step(self, state: Any, learner: Learner, step: Step, rng: torch.Generator) -> Any:
        """State after a step of the model that it holds; `step.draw` is the penalty's own. Default: unchanged."""
        return state

    def end_task(self, state: Any, learner: Learner, task: Task, rng: torch.Generator) -> Any:
        """State after a task's last step. Default: unchanged."""
        return state

    def ahead(self) -> Ahead | float | None:
        """Where the penalty is evaluated: at the parameters (None), where the optimizer would move them with the
        method's gradient, or where plain SGD would, of the optimizer's learning rate (sgd) or of the given one.
        Default: None."""
        return None

    def through_ahead(self) -> bool:
        """Whether a look-ahead differentiates through the candidate step."""
        return False


def of_classes_alone(what: str) -> HypermnesiaError:
    """The error for `what` where targets are numbers; for raising."""
    return HypermnesiaError(
        f"{what} is for classes, and the targets of this stream are numbers (task=regression): these are learned by finetune, "
        "joint, separate, frozen-heads, hnet, phn, hypermask, er, derpp, ewc and si, and by a method of your own that says "
        "tells_numbers = True"
    )


def without_boundaries(what: str, stream: Stream) -> HypermnesiaError:
    """The error for `what` on a stream that does not tell where tasks end; for raising."""
    return HypermnesiaError(
        f"{what} needs task boundaries, which the stream {stream.name} does not give: take a method that does without, "
        "as most that replay from a memory do, on weights that do not depend on the task"
    )
