"""What methods that replay from a memory have in common."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.fitting import fitting
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Stream, Task
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Step
from hypermnesia.methods.replay import rehearsal, together
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay, ReplayState
from hypermnesia.methods.stages import Lookahead, Stage


class ReplayMethod(Method):
    """Draws from a memory in each step, and offers each batch to the memory after it; with `memory.fill=task` a task's samples
    when it has ended.

    Not a dataclass: a method declares the field `memory` at its own place among its options. A state other than
    `ReplayState` has a field `memory`, and an `init` of its own.
    """

    memory: MemoryOptions
    keeps_logits: ClassVar[bool] = False
    """Whether the memory keeps the logits that `loss` hands out, beside the samples."""

    def check(self, stream: Stream) -> None:
        if self.memory.fill == "task" and not stream.boundaries:
            raise HypermnesiaError(
                f"memory.fill=task lets samples in when their task has ended, which the stream {stream.name} does not tell: "
                "leave memory.fill=step"
            )
        super().check(stream)

    def init(self, learner: Learner) -> Any:
        return ReplayState(rehearsal.empty_memory(learner, self.memory, logits=self.keeps_logits))

    def begin_task(self, state: Any, learner: Learner) -> Any:
        return replace(state, memory=rehearsal.with_more_outputs(state.memory, learner))

    @property
    def needs_boundaries(self) -> bool:
        return self.memory.fill == "task" or type(self).end_task is not ReplayMethod.end_task

    def draw(self, state: Any, learner: Learner, batch: Batch, rng: torch.Generator) -> Any:
        return rehearsal.rehearse(state.memory, learner, self.memory, rng)

    def draw_together(
        self, states: Sequence[Any], learners: Sequence[Learner], rngs: Sequence[torch.Generator]
    ) -> tuple[Any, Sequence[Any]] | None:
        if type(self).draw is not ReplayMethod.draw:
            return None
        return together.rehearse([s.memory for s in states], learners, self.memory, rngs)

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        """Experience replay: one mean of the cross-entropy over the batch and what was drawn, whose logits it hands out."""
        if draw is None:
            logits, target = net(batch.x, batch.task), batch.target
        else:
            logits = rehearsal.joint_logits(net, batch.x, batch.task, draw)
            target = torch.cat([batch.target, draw.target])
        name, distance = fitting(target)
        value = distance(logits, target)
        return value, Aux({name: value.detach()}, logits.detach())

    def after_step(self, state: Any, learner: Learner, step: Step, rng: torch.Generator) -> Any:
        if self.memory.fill == "task":
            return state
        logits = step.aux.logits if self.keeps_logits else None
        return replace(state, memory=rehearsal.remember(state.memory, step.batch, rng, logits))

    def end_task(self, state: Any, learner: Learner, task: Task, rng: torch.Generator) -> Any:
        if self.memory.fill == "step":
            return state
        if self.keeps_logits:
            return replace(state, memory=rehearsal.with_answers(state.memory, learner, task, rng))
        return replace(state, memory=rehearsal.with_all(state.memory, task, rng))


class Projecting(ReplayMethod):
    """Learns from the batch alone, whose gradient it turns where that opposes what is remembered."""

    def loss(self, net: Net, state: Any, batch: Batch, draw: Any) -> tuple[Tensor, Aux]:
        return super().loss(net, state, batch, None)

    def references(self, net: Net, draw: Any) -> tuple[Sequence[Tensor], Aux]:
        """Losses on what is remembered, whose gradients the batch's is not to oppose; and what they hand out."""
        raise NotImplementedError

    def turned(self, gradient: Tensors, references: Sequence[Tensors]) -> Tensors:
        """The gradient so that it opposes none of the references, of which there is at least one."""
        raise NotImplementedError

    def stages(self) -> Sequence[Stage]:
        return (*super().stages(), Stage(self._remembered, self._turned, counts=False))

    def _remembered(
        self, net: Net, state: Any, batch: Batch, draw: Any, gradient: Tensors, candidate: Lookahead
    ) -> tuple[Sequence[Tensor], Aux]:
        return ([], Aux()) if draw is None else self.references(net, draw)

    def _turned(self, gradient: Tensors, references: Sequence[Tensors]) -> Tensors:
        return self.turned(gradient, references) if references else gradient


class LogitReplay(ReplayMethod):
    """CE(f(x), y) + alpha · a distance between f(x') and the remembered logits z' of one draw x'."""

    alpha: float
    joint_forward: bool | None
    keeps_logits: ClassVar[bool] = True
    term: ClassVar[str]
    """What the second term is called."""

    def loss(self, net: Net, state: Any, batch: Batch, draw: Replay | None) -> tuple[Tensor, Aux]:
        replays = [] if draw is None else [draw]
        logits, replayed = rehearsal.forward(net, batch.x, batch.task, replays, self.joint_forward)
        value = F.cross_entropy(logits, batch.target)
        terms = {"cross_entropy": value.detach()}
        if draw is not None:
            held = self.alpha * self.distance(replayed[0], draw)
            terms[self.term] = held.detach()
            value = value + held
        return value, Aux(terms, logits.detach())

    def distance(self, logits: Tensor, draw: Replay) -> Tensor:
        """Between the logits of a draw (m, outputs) and those remembered with it: a scalar."""
        raise NotImplementedError
