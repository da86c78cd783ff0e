"""Methods joined by penalties: values, gradients and look-ahead of the sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors, scale
from hypermnesia.data import Stream, Task
from hypermnesia.methods.base import Method, Penalty, of_classes_alone, without_boundaries
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase, Samples, Step, WeightRequest
from hypermnesia.methods.stages import EITHER, Gradients, Lookahead, Stage, gradients
from hypermnesia.weights.model import Model


def combine(method: Method, *penalties: Penalty) -> Method:
    """`method` with the penalties added to its loss; with none, the method itself.

    Raises `HypermnesiaError` for what is no method, and for what is no penalty.
    """
    given = [method, *penalties]
    if not isinstance(method, Method) or not all(isinstance(penalty, Penalty) for penalty in penalties):
        listed = ", ".join(one.__name__ if isinstance(one, type) else type(one).__name__ for one in given)
        raise HypermnesiaError(
            f"combine({listed}): expected a method and then penalties, made by calling their classes, such as "
            "combine(Finetune(), Drift(beta=0.01))"
        )
    return Combined(method, penalties) if penalties else method


@dataclass(frozen=True)
class CombinedState:
    method: Any
    penalties: tuple[Any, ...]


@dataclass(frozen=True)
class Combined(Method):
    """A method and its penalties; see `combine`."""

    method: Method
    penalties: tuple[Penalty, ...]

    def __post_init__(self) -> None:
        if self.method.custom_gradients and any(p.through_ahead() for p in self.penalties):
            raise HypermnesiaError(
                f"a look-ahead of second order differentiates the loss twice, and {type(self.method).__name__} "
                "changes gradients after the fact: set second_order=false"
            )

    @property
    def custom_gradients(self) -> bool:
        return self.method.custom_gradients or any(p.ahead() is not None for p in self.penalties)

    @property
    def staged(self) -> bool:
        return self.method.staged

    @property
    def watches_parameters(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.watches_parameters or any(p.watches_parameters for p in self.penalties)

    @property
    def only_passes_input(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.only_passes_input

    @property
    def answers_ahead(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.answers_ahead

    @property
    def trains_reader(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.trains_reader

    @property
    def tells_numbers(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.tells_numbers and all(penalty.tells_numbers for penalty in self.penalties)

    @property
    def written_models(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.written_models

    @property
    def held_models(self) -> frozenset[str]:
        return self.method.held_models | {penalty.holds for penalty in self.penalties}

    def check(self, stream: Stream) -> None:
        self.method.check(stream)
        if not stream.boundaries:
            raise without_boundaries(f"the penalty {self.penalties[0].name}", stream)
        alone = [penalty.name for penalty in self.penalties if not penalty.tells_numbers]
        if stream.target is not None and alone:
            raise of_classes_alone(f"the penalty {alone[0]}")

    def extra_models(self, stream: Stream, seed: int) -> dict[str, Model]:
        return self.method.extra_models(stream, seed)

    def init(self, learner: Learner) -> CombinedState:
        return CombinedState(self.method.init(learner), tuple(p.init(learner) for p in self.penalties))

    def begin_task(self, state: CombinedState, learner: Learner) -> CombinedState:
        penalties = (p.begin_task(s, learner) for p, s in self._with_states(state))
        return CombinedState(self.method.begin_task(state.method, learner), tuple(penalties))

    def see_task(self, state: CombinedState, learner: Learner, task: Task) -> CombinedState:
        penalties = tuple(p.see_task(s, learner, task) for p, s in self._with_states(state))
        return CombinedState(self.method.see_task(state.method, learner, task), penalties)

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return [
            replace(p, data=p.data and _of_method(p.data), beside=p.beside and _of_method(p.beside))
            for p in self.method.phases(learner)
        ]

    def draw(self, state: CombinedState, learner: Learner, batch: Batch, rng: torch.Generator) -> Any:
        own = self.method.draw(state.method, learner, batch, rng)
        active = [i for i, penalty in enumerate(self.penalties) if penalty.holds == learner.phase.model]
        return own, {i: self.penalties[i].draw(state.penalties[i], learner, batch, rng) for i in active}

    def loss(self, net: Net, state: CombinedState, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        reads = [self.penalties[i].reads(state.penalties[i], drawn) for i, drawn in draw[1].items()]
        if known := [read for read in reads if read is not None]:
            net = net.writing(WeightRequest((batch.task,)), *known)
        total, aux = self.method.loss(net, state.method, batch, draw[0])
        terms = dict(aux.terms)
        for i, drawn in draw[1].items():
            penalty = self.penalties[i]
            value = penalty.value(net, state.penalties[i], drawn)
            if value is not None:
                total, terms[penalty.name] = total + value, value.detach()
        return total, replace(aux, terms=terms)

    def stages(self) -> Sequence[Stage]:
        """g = ∇(method) + ∇(penalties), each penalty at θ + Δθ(∇method) if it looks ahead (von Oswald et al., eq. 2)."""
        if not self.custom_gradients:
            return super().stages()
        twice = any(p.through_ahead() for p in self.penalties)
        return (*(_stage_of_method(stage, twice) for stage in self.method.stages()), self._held())

    def _held(self) -> Stage:
        """The penalties, as they are evaluated where the method's gradient leads."""
        return Stage(self._penalties, looks=EITHER & {penalty.ahead() for penalty in self.penalties})

    def _penalties(
        self,
        net: Net,
        state: CombinedState,
        batch: Batch,
        draw: Any,
        gradient: Tensors,
        candidate: Lookahead,
    ) -> tuple[Sequence[Tensor], Aux]:
        values: list[Tensor] = []
        terms: Tensors = {}
        for i, drawn in draw[1].items():
            penalty = self.penalties[i]
            shifted = self._shifted(net, penalty, gradient, candidate)
            value = penalty.value(shifted, state.penalties[i], drawn)
            if value is not None:
                values.append(value)
                terms[penalty.name] = value.detach()
        return values, Aux(terms)

    def gradients(
        self, net: Net, state: CombinedState, batch: Batch, draw: Any, candidate: Lookahead
    ) -> Gradients:
        if self.staged:
            return super().gradients(net, state, batch, draw, candidate)
        begun = self.method.gradients(net, state.method, batch, draw[0], candidate)
        return gradients([self._held()], net, state, batch, draw, candidate, begun)

    def _shifted(self, net: Net, penalty: Penalty, gradient: Tensors, candidate: Lookahead) -> Net:
        ahead = penalty.ahead()
        if ahead is None:
            return net
        by_name = isinstance(ahead, str)
        change = candidate(gradient, plain=ahead == "sgd") if by_name else scale(gradient, -ahead)
        if not penalty.through_ahead():
            change = {name: value.detach() for name, value in change.items()}
        return net.at({name: net.params[name] + value for name, value in change.items()})

    def after_step(
        self, state: CombinedState, learner: Learner, step: Step, rng: torch.Generator
    ) -> CombinedState:
        own, drawn = step.draw
        penalties = list(state.penalties)
        for i, of_penalty in drawn.items():
            given = replace(step, draw=of_penalty)
            penalties[i] = self.penalties[i].after_step(penalties[i], learner, given, rng)
        return CombinedState(
            self.method.after_step(state.method, learner, replace(step, draw=own), rng), tuple(penalties)
        )

    def end_task(
        self, state: CombinedState, learner: Learner, task: Task, rng: torch.Generator
    ) -> CombinedState:
        own = self.method.end_task(state.method, learner, task, rng)
        return CombinedState(
            own, tuple(p.end_task(s, learner, task, rng) for p, s in self._with_states(state))
        )

    def forget(self, state: CombinedState, learner: Learner, x: Tensor, y: Tensor) -> Any:
        self.method.forget(state.method, learner, x, y)  # says so where the method cannot either
        names = ", ".join(penalty.name for penalty in self.penalties)
        raise HypermnesiaError(
            f"with a penalty ({names}) classes cannot be taken out again: what it holds was measured on their samples"
        )

    def scores(self, state: CombinedState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        return self.method.scores(state.method, learner, x, task)

    def network(self, state: CombinedState, learner: Learner) -> nn.Module | None:
        return self.method.network(state.method, learner)

    def strange(self, state: CombinedState, learner: Learner, x: Tensor) -> Tensor | None:
        return self.method.strange(state.method, learner, x)

    def _with_states(self, state: CombinedState) -> list[tuple[Penalty, Any]]:
        return list(zip(self.penalties, state.penalties, strict=True))


def _stage_of_method(stage: Stage, twice: bool) -> Stage:
    """A method's stage, asked with the combined state and draw."""

    def losses(
        net: Net, state: CombinedState, batch: Batch, draw: Any, gradient: Tensors, candidate: Lookahead
    ) -> tuple[Sequence[Tensor], Aux]:
        return stage.losses(net, state.method, batch, draw[0], gradient, candidate)

    return replace(stage, losses=losses, twice=twice)


def _of_method(data: Callable[[Any, Learner], Samples]) -> Callable[[Any, Learner], Samples]:
    """What a method's phase trains on, asked with the combined state."""
    return lambda state, learner: data(state.method, learner)
