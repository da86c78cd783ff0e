"""Several runs as one program: their parameters stacked, their steps taken together.

The runs are seeds of one configuration, or differ in numbers that their losses read and in learning rates.

Every run stays what it is by itself: its own order, draws, memory, evaluation, records and checkpoints. Only gradients
and optimizer steps are computed for all of them at once, the gradients by replaying recorded operations (`graph`). Between
two steps the parameters and the optimizer state of each run are views of the stacked tensors, so it can be evaluated and
saved at any moment.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hypermnesia.core import lookahead, optim, tensors, trees
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.tensors import Tensors
from hypermnesia.core.trees import flat, rebuilt
from hypermnesia.methods.learner import Aux, Step
from hypermnesia.training import determinism
from hypermnesia.training.events import Event, StepDone
from hypermnesia.training.graphs import Graphs, Input, made
from hypermnesia.training.guards import check_tensors
from hypermnesia.training.loop import Fit
from hypermnesia.training.program import Given, Program
from hypermnesia.training.stackable import why_apart
from hypermnesia.training.step import (
    Layout,
    Stepper,
    StepRequest,
    StepResult,
    early,
    numbers_of,
    others,
    packed,
    precision,
    unpacked,
)


def together(runs: Sequence[Fit]) -> Iterator[tuple[int, Event]]:
    """Train all runs to their ends, in step: (which run, its event), as each run by itself would announce them.

    Raises `HypermnesiaError` where `why_apart` has a reason, and whatever a run raises.
    """
    if reason := why_apart(runs):
        raise HypermnesiaError(f"these runs cannot be stacked: {reason}")
    stack = Stack(runs)
    with determinism.settings(runs[0].threads):
        for run in runs:
            run.seed_noise()
        going = {i: run.advance() for i, run in enumerate(runs)}
        requests: dict[int, StepRequest] = {}
        while going:
            failed: list[RunFailed] = []
            for i, course in [(i, course) for i, course in going.items() if i not in requests]:
                try:
                    while isinstance(item := _next(course, runs[i]), Event):
                        if isinstance(item, StepDone) and item.step == item.steps:
                            stack.release(i)
                        yield i, item
                except RunFailed as error:
                    failed.append(error)  # told once the others have come to the end of their steps
                    continue
                if item is None:
                    del going[i]
                else:
                    requests[i] = item
            if failed:
                failed[0].among = tuple(error.of for error in failed)
                raise failed[0]
            stack.take(requests)
            requests = {i: one for i, one in requests.items() if one.result is None}


def _next(course: Iterator[Event | StepRequest], run: Fit) -> Event | StepRequest | None:
    """The run's next event or step, None at its end; a failure says whose it is."""
    try:
        return next(course, None)
    except RunFailed as error:
        error.of = run
        raise


class Stack:
    """Takes the requested steps of several runs, at once where all are ready for one."""

    def __init__(self, runs: Sequence[Fit]) -> None:
        self.runs = list(runs)
        self.method, self.train, self.device = runs[0].method, runs[0].train, runs[0].learner.device
        self._alone = [Stepper(run.method, self.train, self.device) for run in runs]
        self._bound: _Bound | None = None

    def take(self, requests: Mapping[int, StepRequest]) -> None:
        """Take a step of all runs, or of those that lag behind: after a resume they catch up by themselves."""
        done = {i: self.runs[i].records.steps for i in requests}
        if len(requests) == len(self.runs) and len(set(done.values())) == 1:
            self._take_all(list(requests.values()))
            return
        for i, one in requests.items():
            if done[i] == min(done.values()):
                self._alone[i].take(one)

    def release(self, i: int) -> None:
        """Lay the parameters of run `i` and its optimizers' moments out as in a run that goes on from here: what the end of
        its task and the next one begin with (a Fisher information, a drift penalty's targets) is computed from them, and
        rounds by how they lie in memory."""
        self._bound = None
        for parameter in self.runs[i].learner.model.parameters():
            parameter.data = parameter.data.contiguous()
        for optimizer in self.runs[i].optimizers.values():
            for state in optimizer.state.values():
                for key, value in state.items():
                    state[key] = value.contiguous() if isinstance(value, Tensor) else value

    def _take_all(self, requests: list[StepRequest]) -> None:
        started = time.perf_counter()
        if self._bound is None or any(
            a is not w.net for a, w in zip(self._bound.nets, requests, strict=True)
        ):
            self._bound = _Bound(self.runs, requests)
        bound = self._bound
        bound.set_rates(requests)
        together = bound.draw(requests)
        watched = self.method.watches_parameters
        before = [tensors.copy(w.net.params) if watched else {} for w in requests]
        with precision(self.train, self.device):
            gradients, losses, auxs = bound.gradients(requests, together)
        if self.train.check == "all":
            for i, w in enumerate(requests):
                check_tensors("gradient", {name: g[i] for name, g in gradients.items()}, w.when())
        gradients = bound.move(gradients, requests, self.train.clip)
        each = {name: g.unbind() for name, g in gradients.items()}
        seconds = (time.perf_counter() - started) / len(requests)
        for i, w in enumerate(requests):
            own = {name: g[i] for name, g in each.items()}
            step = Step(w.batch, w.draw, auxs[i], before[i], w.net.params, own)
            w.result = StepResult(losses[i], step, seconds)


class _Bound:
    """The models of all runs in one phase, their numbers stacked along a new first axis."""

    def __init__(self, runs: Sequence[Fit], requests: Sequence[StepRequest]) -> None:
        self.nets = [w.net for w in requests]
        self.methods = [run.method for run in runs]
        found = trees.numbers(self.methods)
        assert found is not None
        self._numbers = {
            place: torch.tensor(each).to(requests[0].batch.x.device) for place, each in found.items()
        }
        self.model, self.part = self.nets[0].model, self.nets[0].part
        own = [net.params for net in self.nets]
        self.params: dict[str, nn.Parameter] = {}
        for name in own[0]:
            whole = torch.stack([params[name].detach() for params in own])
            if (
                whole.dim() == 3
            ):  # as the batched gradient of a matrix lies in memory, or each step would copy it
                whole = whole.mT.contiguous().mT
            for params, view in zip(own, whole.unbind(), strict=True):
                params[name].data = view
            self.params[name] = nn.Parameter(whole)
        self.rest = self._stacked_rest(own[0])
        self._states: dict[int, tuple[list[Tensor], Tensor]] = {}
        compile = runs[0].train.compile
        self._graphs = Graphs("train.compile=true with --stack" if compile else "--stack", compile)
        self._optimizers = [w.optimizer for w in requests]
        options = runs[0].optimizer_of[runs[0].learner.phase.model]
        self.optimizer = optim.build(options, self.params)
        self._take_over()
        self._shared = False
        self._ratios = self._ratios_of_rates()
        self._looks = any(stage.looks for stage in self.methods[0].stages())

    def _stacked_rest(self, trained: Mapping[str, Tensor]) -> Tensors:
        found = [others(net.model, trained) for net in self.nets]
        return {name: torch.stack([each[name].detach() for each in found]) for name in found[0]}

    def _ratios_of_rates(self) -> dict[str, Tensor]:
        """Parameters whose learning rates differ from run to run → each run's rate, in units of the first one's."""
        found = {}
        for i, group in enumerate(self.optimizer.param_groups):
            rates = [optimizer.param_groups[i]["base_lr"] for optimizer in self._optimizers]
            if len(set(rates)) > 1:
                ratios = torch.tensor([rate / rates[0] for rate in rates], device=group["params"][0].device)
                for name, whole in zip(group["names"], group["params"], strict=True):
                    found[name] = ratios.view(-1, *[1] * (whole.dim() - 1))
        return found

    def _take_over(self) -> None:
        """Begin with the state that the runs' own optimizers have, such as after a resume."""
        for name, whole in self.params.items():
            states = [
                o.state.get(n.params[name], {}) for o, n in zip(self._optimizers, self.nets, strict=True)
            ]
            if states[0]:
                joined = {key: _joined([s[key] for s in states], whole) for key in states[0]}
                self.optimizer.state[whole] = joined

    def set_rates(self, requests: Sequence[StepRequest]) -> None:
        """Take the first run's learning rates of this step."""
        for group, own in zip(self.optimizer.param_groups, requests[0].optimizer.param_groups, strict=True):
            group["lr"] = own["lr"]

    def draw(self, requests: Sequence[StepRequest]) -> Any:
        """Make the draws of all runs; returns them as one where they are made as one, else None."""
        together = self.methods[0].draw_together(
            [w.state for w in requests], [w.learner for w in requests], [w.rng for w in requests]
        )
        if together is None:
            for method, w in zip(self.methods, requests, strict=True):
                w.make_draw(method)
            return None
        for w, own in zip(requests, together[1], strict=True):
            w.draw = own
        return together[0]

    def gradients(
        self, requests: Sequence[StepRequest], together: Any
    ) -> tuple[Tensors, Sequence[Tensor], list[Aux]]:
        """(stacked gradients by name, losses, auxiliary outputs); `together`: the draws as one, if they are."""
        states = [flat(w.state) for w in requests]
        passing = [flat(w.batch, w.draw) if together is None else flat(w.batch) for w in requests]
        alike = all(s.form == states[0].form for s in states) and all(
            p.form == passing[0].form for p in passing
        )
        if not alike:  # such as rehearsed tasks that differ from run to run
            return self._one_by_one(requests)
        held = [
            self._held(i, list(same)) for i, same in enumerate(zip(*(s.leaves for s in states), strict=True))
        ]
        fresh: list[Input] = [
            partial(torch.stack, same) for same in zip(*(p.leaves for p in passing), strict=True)
        ]
        form = [*states[0].form, *passing[0].form]
        if together is not None:
            leaves, drawn = flat(together)
            fresh, form = [*fresh, *leaves], [*form, *drawn]
        first = requests[0]
        program = Program(
            self.methods[0],
            tuple(self._numbers),
            self.model,
            self.part,
            first.state,
            first.batch,
            first.draw,
            self.optimizer,
        )
        ahead = lookahead.view(self.optimizer) if self._looks else None
        seen, of_optimizer = flat(ahead)
        parts = (self.params, self.rest, self._numbers, held, fresh, self._ratios, seen)
        edges = [0, *accumulate(map(len, parts))]

        def compute(tensors: list[Tensor]) -> tuple[list[Tensor], Layout]:
            params, rest, own, held, fresh, ratios, seen = (tensors[a:b] for a, b in pairwise(edges))
            named = dict(zip(self.params, params, strict=True))
            untrained = dict(zip(self.rest, rest, strict=True))
            [view], by_rate = rebuilt((ahead,), iter(seen)), dict(zip(self._ratios, ratios, strict=True))
            return packed(program.gradients(Given(named, untrained, own, held, fresh), view, by_rate))

        inputs: list[Input] = [
            *self.params.values(),
            *self.rest.values(),
            *self._numbers.values(),
            *held,
            *fresh,
            *self._ratios.values(),
            *seen,
        ]
        if self._graphs.compile and early(first):
            found = compute(made(inputs))
        else:
            found = self._graphs([*form, *of_optimizer, *numbers_of(self.model)], compute, inputs)
        gradients, values, aux = unpacked(*found)
        shares = {name: part.unbind() for name, part in aux.terms.items()}
        answers = [None] * len(requests) if aux.logits is None else aux.logits.unbind()
        auxs = [
            Aux({name: share[i] for name, share in shares.items()}, answers[i]) for i in range(len(requests))
        ]
        return gradients, values.unbind(), auxs

    def _held(self, position: int, leaves: list[Tensor]) -> Tensor:
        """A tensor of the methods' states, stacked; anew only when one of them is another than before."""
        known = self._states.get(position)
        if known is None or any(a is not b for a, b in zip(known[0], leaves, strict=True)):
            known = self._states[position] = (leaves, torch.stack(leaves))
        return known[1]

    def _one_by_one(self, requests: Sequence[StepRequest]) -> tuple[Tensors, Sequence[Tensor], list[Aux]]:
        found = [
            method.gradients(w.net, w.state, w.batch, w.draw, partial(lookahead.candidate, w.optimizer))
            for method, w in zip(self.methods, requests, strict=True)
        ]
        stacked = {}
        for name, whole in self.params.items():
            own = [gradients.get(name) for gradients, _, _ in found]
            if any(g is not None for g in own):
                stacked[name] = torch.stack(
                    [torch.zeros_like(whole[i]) if g is None else g.detach() for i, g in enumerate(own)]
                )
        return stacked, [loss for _, loss, _ in found], [aux for _, _, aux in found]

    def move(self, gradients: Tensors, requests: Sequence[StepRequest], clip: float | None) -> Tensors:
        """One optimizer step of all runs; returns the gradients as they are before clipping."""
        gradients = {name: optim.laid_out_as(self.params[name], g) for name, g in gradients.items()}
        before = {name: self.params[name].detach().clone() for name in self._ratios}
        optim.advance(self.optimizer, _clipped(gradients, clip))
        # Every optimizer's move is proportional to its learning rate.
        for name, ratio in self._ratios.items():
            whole = self.params[name].detach()
            whole.copy_(torch.lerp(before[name], whole, ratio))
        if not self._shared:
            self._share()
        return gradients

    def _share(self) -> None:
        """Let each run's own optimizer see its part of the state."""
        self._shared = True
        for name, whole in self.params.items():
            state = self.optimizer.state.get(whole, {})
            for i, (optimizer, net) in enumerate(zip(self._optimizers, self.nets, strict=True)):
                optimizer.state[net.params[name]] = {
                    key: value[i] if isinstance(value, Tensor) and value.dim() else value
                    for key, value in state.items()
                }


def _joined(values: list[Any], parameter: Tensor) -> Any:
    """A part of the optimizers' states as one: tensors stacked, but for counters, which are the same for all."""
    first = values[0]
    if not isinstance(first, Tensor):
        return first
    if first.dim() == 0:
        return first.clone()
    return optim.laid_out_as(parameter, torch.stack(values))  # or a fused optimizer reads it as garbage


def _clipped(gradients: Tensors, most: float | None) -> Tensors:
    """As `optim.clipped`, for each run by itself."""
    if most is None or not gradients:
        return gradients
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0)
    factor = (most / (squares.sqrt() + 1e-6)).clamp(max=1)
    return {name: g * factor.view(-1, *[1] * (g.dim() - 1)) for name, g in gradients.items()}
