"""The gradients of several runs as one function of their stacked tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from hypermnesia.core import lookahead, trees
from hypermnesia.core.lookahead import OptimizerView
from hypermnesia.core.tensors import Tensors
from hypermnesia.core.trees import rebuilt
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Net
from hypermnesia.methods.stages import Gradients, Stage, joined, summed, told_so_far
from hypermnesia.weights.model import Model


@dataclass(frozen=True)
class Given:
    """What the runs differ in, each tensor with the runs as its first axis."""

    params: Tensors
    rest: Tensors
    """What a loss reads of the models beside the trained parameters."""
    own: list[Tensor]
    """Numbers of the methods."""
    held: list[Tensor]
    """Tensors of the methods' states."""
    fresh: list[Tensor]
    """Those of batches and draws."""

    @property
    def leaves(self) -> tuple[Tensors, Tensors, list[Tensor], list[Tensor], list[Tensor]]:
        return self.params, self.rest, self.own, self.held, self.fresh


@dataclass(frozen=True)
class Program:
    """The stages of a method, taken for all runs at once; the first run stands for the form of all."""

    method: Method
    places: Sequence[tuple[Any, ...]]
    """Where in the method the numbers are."""
    model: Model
    part: nn.Module | None
    state: Any
    batch: Batch
    draw: Any
    optimizer: torch.optim.Optimizer
    """Of the stacked parameters."""

    def gradients(self, given: Given, view: OptimizerView | None, ratios: Mapping[str, Tensor]) -> Gradients:
        """As `methods.stages.gradients`, of all runs: (runs, …) each.

        `view`: what the optimizer holds, for candidate steps; `ratios`: each run's learning rate in units of the
        optimizer's, by name of the parameters where they differ.
        """
        gradient, total, aux = {}, None, Aux()
        for k, stage in enumerate(self.method.stages()):
            changes = {kind: self._change(gradient, view, kind, ratios) for kind in stage.looks}
            values, terms, logits = vmap(partial(self._losses, k))(*given.leaves, gradient, changes)
            found = [_gradients(value, given.params, stage) for value in values]
            if stage.join is summed:
                gradient = summed(gradient, found)
            else:
                gradient = vmap(partial(self._join, k))(given.own, gradient, found)
            total = told_so_far(stage, total, values)
            shares = {name: part.detach() for name, part in terms.items()}
            aux = joined(aux, Aux(shares, logits[0].detach() if logits else None))
        assert total is not None  # the first stage counts
        return {name: g.detach() for name, g in gradient.items()}, total, aux

    def _losses(
        self,
        k: int,
        params: Tensors,
        rest: Tensors,
        own: list[Tensor],
        held: list[Tensor],
        fresh: list[Tensor],
        gradient: Tensors,
        changes: Mapping[str, Tensors],
    ) -> tuple[list[Tensor], Tensors, list[Tensor]]:
        """(losses, terms, logits) of stage k, of one run."""

        def candidate(gradients: Mapping[str, Tensor], plain: bool = False) -> Tensors:
            return dict(changes["sgd" if plain else "optimizer"])

        state = rebuilt(self.state, iter(held))
        batch, draw = rebuilt((self.batch, self.draw), iter(fresh))
        net = Net(self.model, params, rest, self.part)
        values, told = self._stage(k, own).losses(net, state, batch, draw, gradient, candidate)
        return [*values], dict(told.terms), [] if told.logits is None else [told.logits]

    def _join(self, k: int, own: list[Tensor], gradient: Tensors, found: Sequence[Tensors]) -> Tensors:
        return self._stage(k, own).join(gradient, found)

    def _stage(self, k: int, own: Sequence[Tensor]) -> Stage:
        return trees.with_numbers(self.method, dict(zip(self.places, own, strict=True))).stages()[k]

    def _change(
        self, gradient: Tensors, view: OptimizerView | None, kind: str, ratios: Mapping[str, Tensor]
    ) -> Tensors:
        change = lookahead.candidate(self.optimizer, gradient, kind == "sgd", view)
        return {name: moved * ratios.get(name, 1.0) for name, moved in change.items()}


def _gradients(values: Tensor, params: Tensors, stage: Stage) -> Tensors:
    """As `Net.gradients`, of a loss of all runs (runs,)."""
    if not values.requires_grad:
        return {}
    found = torch.autograd.grad(
        values.sum(), list(params.values()), create_graph=stage.twice, retain_graph=True, allow_unused=True
    )
    return {name: g for name, g in zip(params, found, strict=True) if g is not None}
