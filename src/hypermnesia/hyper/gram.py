"""The Gram form of one linear factor's drift, with its gradient written out.

The form (see `drift`) sums y Q yᵀ over rows y = [x  Δx]. Q and Σ yᵀy are symmetric, which autograd does not know: it
multiplies everything out from both sides. By hand, value and gradient take five products with the rows and four over
the long axis, instead of nine and five, and hardly another pass over the rows. With S = ΔAᵀΔA, M = ΔAᵀA*, P = A*ᵀA*:

    value     ⟨S, Σ xᵀx⟩ + 2 ⟨M, Σ xᵀΔx⟩ + ⟨P, Σ ΔxᵀΔx⟩
    ∂/∂x      2 x (S + M) + 2 Δx (Mᵀ + P)                  (Δx moves with x)
    ∂/∂A      2 ΔA Σ xᵀx + 2 A* (Σ xᵀΔx)ᵀ
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypermnesia.hyper.tiling import Tiling


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
    if (
        torch.compiler.is_compiling()
    ):  # it cannot trace `_Distance` under vmap, and fuses what autograd leaves
        return _measure(now, then, tiling, weights)[0]
    return _Distance.apply(*now, *then.linear, then.partner, then.products, weights, tiling)[0]


class _Distance(torch.autograd.Function):
    """`distance`; its further outputs are what the backward pass would otherwise compute again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        value, moved, sums = _measure(*_arguments(inputs))
        return value, *moved, *(tensor for part in sums for tensor in part)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.tiling = inputs
        ctx.inputs = len(tensors)
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        now, then, tiling, weights = _arguments((*ctx.saved_tensors[: ctx.inputs], ctx.tiling))
        if torch.is_grad_enabled():  # a derivative of this gradient needs to know what these come from
            _, moved, sums = _measure(now, then, tiling, weights)
        else:
            own, change, *flat = ctx.saved_tensors[ctx.inputs :]
            moved = _Moved(own, change)
            sums = [_Sums(*flat[i : i + 4]) for i in range(0, len(flat), 4)]
        found = _gradient(now, then, tiling, weights, moved, sums, 2 * gradients[0])
        return *found, *(None,) * 7


def _arguments(inputs: Sequence[Any]) -> tuple[Linear, Snapshot, Tiling, Tensor | None]:
    *linear, partner, products, weights, tiling = inputs
    return Linear(*linear[:3]), Snapshot(Linear(*linear[3:]), partner, products), tiling, weights


class _Moved(NamedTuple):
    own: Tensor
    """ΔX of the tasks' own inputs."""
    weight: Tensor
    """ΔA, in the precision of the products."""


class _Sums(NamedTuple):
    """What a part of the rows contributes to the gradient, all (d, d)."""

    xx: Tensor
    """Σ xᵀx."""
    xd: Tensor
    """Σ xᵀΔx."""
    by_x: Tensor
    """S + M."""
    by_dx: Tensor
    """Mᵀ + P."""


class _Part(NamedTuple):
    """Rows `top` to `bottom`, on which the forms of some segments are added and those of others taken away."""

    top: int
    bottom: int
    added: list[int]
    taken: list[int]

    def total(self, by_segment: Callable[[int], Tensor]) -> Tensor:
        signed = [*map(by_segment, self.added), *(-by_segment(i) for i in self.taken)]
        return reduce(torch.add, signed)


def _parts(tiling: Tiling) -> list[_Part]:
    """All rows with the forms of the tallest band; then each other band with what it has more or less than that.

    So the surplus of a last chunk costs one row of each task, and no copy of all others.
    """
    tallest = max(tiling.bands, key=lambda band: band[1] - band[0])[2]
    parts = [_Part(tiling.bands[0][0], tiling.bands[-1][1], tallest, [])]
    for top, bottom, used in tiling.bands:
        added, taken = [i for i in used if i not in tallest], [i for i in tallest if i not in used]
        parts.append(_Part(top, bottom, added, taken))
    return [part for part in parts if part.added or part.taken]


class _Side(NamedTuple):
    """Inputs of one kind, a task's own or shared ones, and for each the weighted sum of all rows that hold it."""

    x: Tensor
    """(n, its columns)."""
    dx: Tensor
    y: Tensor
    """(n, d)."""
    dy: Tensor


def _sides(now: Linear, then: Snapshot, moved: Tensor, part: _Part, weights: Tensor | None) -> list[_Side]:
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


def _measure(
    now: Linear, then: Snapshot, tiling: Tiling, weights: Tensor | None
) -> tuple[Tensor, _Moved, list[_Sums]]:
    """(the value, changes, what else its gradient is made of)."""
    low, full = then.partner, then.products
    moved = _Moved((now.own - then.linear.own).to(low), (now.weight - then.linear.weight).to(low))
    squares, mixed = {}, {}
    value, sums = now.own.new_zeros(()), []
    for part in _parts(tiling):
        for i in {*part.added, *part.taken} - squares.keys():
            left, right = tiling.segments[i]
            change = moved.weight[left:right].mT
            squares[i], mixed[i] = (change @ change.mT).to(full), (change @ low[left:right]).to(full)
        s, m, p = (part.total(forms.__getitem__) for forms in (squares, mixed, full))
        sides = _sides(now, then, moved.own, part, weights)
        xx = _sum_of_products([(side.x, side.y) for side in sides]).to(full)
        xd = _sum_of_products([(side.x, side.dy) for side in sides]).to(full)
        dd = _sum_of_products([(side.dx, side.dy) for side in sides]).to(full)
        value = value + (s * xx).sum() + 2 * (m * xd).sum() + (p * dd).sum()
        sums.append(_Sums(xx, xd, s + m, m.mT + p))
    return value, moved, sums


def _sum_of_products(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(d, d) from pairs of (n, some columns) and (n, d), the columns of one pair after those of the other."""
    products = [a.mT @ b for a, b in pairs]
    return products[0] if len(products) == 1 else torch.cat(products)


def _gradient(
    now: Linear,
    then: Snapshot,
    tiling: Tiling,
    weights: Tensor | None,
    moved: _Moved,
    sums: Sequence[_Sums],
    factor: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of the tasks' own inputs, the map and the shared inputs; `factor` is twice the gradient of the value."""
    low = then.partner
    of_own, of_shared = _Sum(now.own, 1), None if now.shared is None else _Sum(now.shared, 0)
    grams: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for part, found in zip(_parts(tiling), sums, strict=True):
        by_x, by_dx = (factor * found.by_x).to(low), (factor * found.by_dx).to(low)
        sides = _sides(now, then, moved.own, part, weights)
        rows = [torch.addmm(side.y @ by_x, side.dy, by_dx) for side in sides]
        if of_shared is None:
            of_own.add(rows[0].unflatten(0, (len(now.own), -1)), part.top, part.bottom)
        else:
            columns = rows[0].shape[1] - now.own.shape[2]
            of_shared.add(rows[0][:, :columns], part.top, part.bottom)
            of_own.add(rows[1][:, None, columns:], 0, 1)
        for segments, signed in ((part.added, factor), (part.taken, -factor)):
            for i in segments:
                grams.setdefault(i, []).append((signed * found.xx, signed * found.xd.mT))
    of_weight = []
    for i, (left, right) in enumerate(tiling.segments):
        if i not in grams:
            of_weight.append(torch.zeros_like(now.weight[left:right]))
            continue
        xx, dx = (reduce(torch.add, each).to(low) for each in zip(*grams[i], strict=True))
        piece = torch.addmm(moved.weight[left:right] @ xx, low[left:right], dx)
        of_weight.append(piece.to(now.weight))
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


def _runs(segments: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges, neighbours joined."""
    runs: list[tuple[int, int]] = []
    for left, right in segments:
        if runs and runs[-1][1] == left:
            left = runs.pop()[0]
        runs.append((left, right))
    return runs
