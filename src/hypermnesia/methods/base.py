"""What a continual-learning method is, and what a penalty is that joins one (see `combine`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Step, WeightRequest
from hypermnesia.weights.model import Model

Lookahead = Callable[[Mapping[str, Tensor]], Tensors]
"""Gradients by name → the change of the parameters that the optimizer would make with them."""


class Method:
    """A continual-learning method: a frozen dataclass of hyper-parameters with functions over an explicit state.

    `init`, `draw` and `loss` are every method's own; the rest has the default that is stated. `loss` is pure in
    the net's parameters and buffers, the state's tensors, the batch and the draw: no `.item()`, no in-place
    writes, no Python branch on a tensor's value, and no randomness, which lives in `draw` alone. That makes resume
    exact, compiling possible, and several seeds one stacked program.
    """

    needs_boundaries: ClassVar[bool] = False
    """Whether the method must be told where one task ends and the next begins."""
    custom_gradients: ClassVar[bool] = False
    """Whether `gradients` is more than the gradient of `loss`."""
    watches_parameters: ClassVar[bool] = False
    """Whether `after_step` needs the parameters as they were before the step."""
    restarts_models: ClassVar[bool] = False
    """Whether some phase restarts a model, so that its initial parameters must be kept."""
    written_models: ClassVar[tuple[str, ...]] = ()
    """Those of `extra_models` whose weights a generator writes. A drift penalty has to hold each, or they forget; a
    configuration adds it (section `drift_NAME`), `combine` on its own does not."""

    def extra_models(self, stream: Stream, seed: int) -> dict[str, Model]:
        """Models beside the main one, by name, freshly initialised from `seed`. Default: none."""
        return {}

    def init(self, learner: Learner) -> Any:
        """The first state, before any task: a dataclass of tensors, numbers and nested states, or None."""
        return None

    def begin_task(self, state: Any, learner: Learner) -> Any:
        """State at a task's start, the models having grown. Default: unchanged."""
        return state

    def phases(self, learner: Learner) -> Sequence[Phase]:
        """The current task's phases. Default: one, of the run's own length."""
        return (Phase(),)

    def memory_part(self, state: Any, learner: Learner) -> Any:
        """Samples of a phase with `data="memory"`: anything with a length and `batch(positions) → (raw, y)`."""
        raise NotImplementedError(f"{type(self).__name__} declares a phase over its memory but keeps none")

    def draw(self, state: Any, learner: Learner, batch: Batch, rng: torch.Generator) -> Any:
        """Every random choice of one step, and what is rehearsed in it. Default: nothing."""
        return None

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        """The scalar to minimise and its auxiliary outputs."""
        raise NotImplementedError

    def gradients(
        self, net: Net, state: Any, batch: Batch, draw: Any, candidate: Lookahead
    ) -> tuple[Tensors, Tensor, Aux]:
        """(gradients by name, loss, aux). Default: the gradient of `loss`."""
        value, aux = self.loss(net, state, batch, draw)
        return net.gradients(value), value.detach(), aux

    def after_step(
        self,
        state: Any,
        learner: Learner,
        batch: Batch,
        draw: Any,
        aux: Aux,
        step: Step,
        rng: torch.Generator,
    ) -> Any:
        """State after an optimizer step (a memory may write into its own storage). Default: unchanged."""
        return state

    def end_task(self, state: Any, learner: Learner, task: Task, rng: torch.Generator) -> Any:
        """State after a task's last step; `task.train` may be read once more. Default: unchanged."""
        return state

    def widen(self, state: Any, learner: Learner) -> Any:
        """State when classes have come that the stream did not have before: `learner` counts them already, and a shared
        head has outputs for them. Default: unchanged."""
        return state

    def scores(self, state: Any, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        """(B, active outputs) scores in place of logits, as iCaRL's nearest mean; None (default) = the logits."""
        return None


class Penalty:
    """Something that holds weights where they were: joins any method by value."""

    name: ClassVar[str]
    holds: str = "main"
    """Which of the learner's models it holds; it takes part in that model's phases only."""

    def init(self, learner: Learner) -> Any:
        """First state, before any task."""
        return None

    def begin_task(self, state: Any, learner: Learner) -> Any:
        """State at a task's start: snapshots are taken here."""
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

    def end_task(self, state: Any, learner: Learner, task: Task, rng: torch.Generator) -> Any:
        """State after a task's last step. Default: unchanged."""
        return state

    def widen(self, state: Any, learner: Learner) -> Any:
        """State when further classes have come, as `Method.widen`. Default: unchanged."""
        return state

    def ahead(self) -> Literal["optimizer"] | float | None:
        """Where the penalty is evaluated: at the parameters (None), where the optimizer would move them with the
        method's gradient, or where plain SGD of the given learning rate would. Default: None."""
        return None

    def through_ahead(self) -> bool:
        """Whether a look-ahead differentiates through the candidate step."""
        return False
