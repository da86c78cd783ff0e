"""The Gram form of one linear factor's drift, with its gradient written out.

The form (see `drift`) sums y Q yᵀ over rows y = [x  Δx]. Q and Σ yᵀy are symmetric, which autograd does not know: it
multiplies everything out from both sides. By hand, value and gradient take five products with the rows and four over
the long axis, instead of nine and five, and hardly another pass over the rows. With S = ΔAᵀΔA, M = ΔAᵀA*, P = A*ᵀA*:

    value     ⟨S, Σ xᵀx⟩ + 2 ⟨M, Σ xᵀΔx⟩ + ⟨P, Σ ΔxᵀΔx⟩
    ∂/∂x      2 x (S + M) + 2 Δx (Mᵀ + P)                  (Δx moves with x)
    ∂/∂A      2 ΔA Σ xᵀx + 2 A* (Σ xᵀΔx)ᵀ
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypermnesia.weights.distance.tiling import Part, Tiling


class Linear(NamedTuple):
    """A linear factor's tensors: inputs and the map that all of them go through."""

    own: Tensor
    """(T, r, d) inputs of each task; (T, 1, e) where `shared` is given."""
    weight: Tensor
    """(m, d)."""
    shared: Tensor | None
    """(r, c) inputs that all tasks have in common, c + e = d."""


class Snapshot(NamedTuple):
    """The past, and what can be computed from it once."""

    linear: Linear
    partner: Tensor
    """A* (m, d) in the precision of the products."""
    products: Tensor
    """(segments, d, d): P of each of the tiling's segments."""


def distance(now: Linear, then: Snapshot, tiling: Tiling, weights: Tensor | None = None) -> Tensor:
    """Σ_t weights_t ‖results of task t, now − then‖² over the results in the tiling's bands: a scalar.

    `weights` (T,) are constants; None = 1 for every task.
    """
    return _Distance.apply(*now, *then.linear, then.partner, then.products, weights, tiling)[0]


class _Distance(torch.autograd.Function):
    """`distance`; its further outputs are what the backward pass would otherwise compute again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return tuple(_measure(*_arguments(inputs)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.tiling = inputs
        ctx.inputs = len(tensors)
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        arguments = _arguments((*ctx.saved_tensors[: ctx.inputs], ctx.tiling))
        again = torch.is_grad_enabled()  # a derivative of this gradient needs to know what these come from
        _, *found = _measure(*arguments) if again else (None, *ctx.saved_tensors[ctx.inputs :])
        return *_gradient(*arguments, _Measured(gradients[0], *found)), *(None,) * 7


def _arguments(inputs: Sequence[Any]) -> tuple[Linear, Snapshot, Tiling, Tensor | None]:
    *linear, partner, products, weights, tiling = inputs
    return Linear(*linear[:3]), Snapshot(Linear(*linear[3:]), partner, products), tiling, weights


class _Measured(NamedTuple):
    value: Tensor
    """The distance; on the way back its gradient."""
    moved: Tensor
    """ΔX of the tasks' own inputs, in the precision of the products."""
    change: Tensor
    """ΔA, likewise."""
    sums: Tensor
    """(parts, 4, d, d): of every part of the rows Σ xᵀx, (Σ xᵀΔx)ᵀ, S + M and Mᵀ + P."""


class _Side(NamedTuple):
    """Inputs of one kind, a task's own or shared ones, and for each the weighted sum of all rows that hold it."""

    x: Tensor
    """(n, its columns)."""
    dx: Tensor
    y: Tensor
    """(n, d)."""
    dy: Tensor


def _sides(now: Linear, then: Snapshot, moved: Tensor, part: Part, weights: Tensor | None) -> list[_Side]:
    """The kinds of inputs in the order of their columns, in the precision of the products."""
    own = now.own.to(then.partner)
    if now.shared is None or then.linear.shared is None:
        x, dx = (a[:, part.top : part.bottom].flatten(0, 1) for a in (own, moved))
        if weights is None:
            return [_Side(x, dx, x, dx)]
        each = weights.to(x).repeat_interleave(part.bottom - part.top)[:, None]
        return [_Side(x, dx, x * each, dx * each)]
    p, dp, q = own[:, 0], moved[:, 0], now.shared[part.top : part.bottom]
    q, dq = q.to(p), (q - then.linear.shared[part.top : part.bottom]).to(p)
    each = torch.ones_like(p[:, :1]) if weights is None else weights.to(p)[:, None]
    rows, of_tasks, of_rows = len(q), [], []
    for task, common in ((p, q), (dp, dq)):
        of_tasks.append(each * torch.cat([common.sum(0).expand(len(p), -1), rows * task], 1))
        of_rows.append(torch.cat([each.sum() * common, (each * task).sum(0).expand(rows, -1)], 1))
    return [_Side(q, dq, *of_rows), _Side(p, dp, *of_tasks)]


def _measure(now: Linear, then: Snapshot, tiling: Tiling, weights: Tensor | None) -> _Measured:
    """The value, and what its gradient is made of."""
    low, full = then.partner, then.products
    moved, change = (now.own - then.linear.own).to(low), (now.weight - then.linear.weight).to(low)
    squares, mixed = {}, {}
    value, sums = now.own.new_zeros(()), []
    for part in tiling.parts:
        for i in {*part.added, *part.taken} - squares.keys():
            left, right = tiling.segments[i]
            transposed = change[left:right].mT
            squares[i], mixed[i] = (
                (transposed @ transposed.mT).to(full),
                (transposed @ low[left:right]).to(full),
            )
        s, m, p = (_total(part, forms) for forms in (squares, mixed, full))
        sides = _sides(now, then, moved, part, weights)
        xx = _sum_of_products([(side.x, side.y) for side in sides]).to(full)
        xd = _sum_of_products([(side.x, side.dy) for side in sides]).to(full)
        dd = _sum_of_products([(side.dx, side.dy) for side in sides]).to(full)
        value = value + _dot(s, xx) + 2 * _dot(m, xd) + _dot(p, dd)
        sums += [xx, xd.mT, s + m, m.mT + p]
    empty = full.new_zeros(0, 4, *full.shape[1:])
    return _Measured(value, moved, change, torch.stack(sums).unflatten(0, (-1, 4)) if sums else empty)


def _total(part: Part, forms: Mapping[int, Tensor] | Tensor) -> Tensor:
    """The forms of a part's segments together."""
    return reduce(torch.add, [*(forms[i] for i in part.added), *(-forms[i] for i in part.taken)])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


def _sum_of_products(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(d, d) from pairs of (n, some columns) and (n, d), the columns of one pair after those of the other."""
    products = [a.mT @ b for a, b in pairs]
    return products[0] if len(products) == 1 else torch.cat(products)


def _gradient(
    now: Linear, then: Snapshot, tiling: Tiling, weights: Tensor | None, measured: _Measured
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of the tasks' own inputs, the map and the shared inputs."""
    low, change = then.partner, measured.change
    of_own, of_shared = _Sum(now.own, 1), None if now.shared is None else _Sum(now.shared, 0)
    grams: dict[int, tuple[Tensor, Tensor]] = {}
    scaled = (2 * measured.value * measured.sums).to(low)
    for part, (xx, dx, by_x, by_dx) in zip(tiling.parts, scaled, strict=True):
        sides = _sides(now, then, measured.moved, part, weights)
        rows = [torch.addmm(side.y @ by_x, side.dy, by_dx) for side in sides]
        if of_shared is None:
            of_own.add(rows[0].unflatten(0, (len(now.own), -1)), part.top, part.bottom)
        else:
            columns = rows[0].shape[1] - now.own.shape[2]
            of_shared.add(rows[0][:, :columns], part.top, part.bottom)
            of_own.add(rows[1][:, None, columns:], 0, 1)
        for i in part.added:
            grams[i] = (grams[i][0] + xx, grams[i][1] + dx) if i in grams else (xx, dx)
        for i in part.taken:
            grams[i] = (grams[i][0] - xx, grams[i][1] - dx)
    of_weight = []
    for i, (left, right) in enumerate(tiling.segments):
        if i in grams:
            piece = torch.addmm(change[left:right] @ grams[i][0], low[left:right], grams[i][1]).to(now.weight)
        else:
            piece = torch.zeros_like(now.weight[left:right])
        of_weight.append(piece)
    whole = of_weight[0] if len(of_weight) == 1 else torch.cat(of_weight)
    return of_own.total(), whole, of_shared.total() if of_shared else None


class _Sum:
    """A sum of pieces along one axis of a tensor; a first one that covers it all is taken as it is."""

    def __init__(self, like: Tensor, axis: int) -> None:
        self._like, self._axis = like, axis
        self._total: Tensor | None = None

    def add(self, piece: Tensor, start: int, stop: int) -> None:
        piece = piece.to(self._like)
        if self._total is None and piece.shape == self._like.shape:
            self._total = piece
        else:
            self._total = self.total()
            self._total.narrow(self._axis, start, stop - start).add_(piece)

    def total(self) -> Tensor:
        return torch.zeros_like(self._like) if self._total is None else self._total
