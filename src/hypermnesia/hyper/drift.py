"""How far what a generator writes for its tasks has moved: ‖ h(e_j; now) − h(e_j; then) ‖² for every task j.

Two exact forms of the penalty of von Oswald et al. 2020 (eq. 2). `direct` compares the tensors themselves.
`gram` never builds them. A linear factor's results are X Aᵀ, X being its rows of inputs; with ΔX and ΔA the
changes since the snapshot X*, A*,

    X Aᵀ − X* A*ᵀ  =  X ΔAᵀ + ΔX A*ᵀ  =  [X  ΔX] [ΔA  A*]ᵀ
    ‖·‖²  =  Σ over rows y of [X  ΔX] of  y Q yᵀ,      Q = [ΔA  A*]ᵀ [ΔA  A*]

Q is a small matrix, made once per step for all tasks: the long axis of A is read for ΔAᵀΔA and ΔAᵀA* alone,
A*ᵀA* belongs to the snapshot. Each term holds a change as a factor on both sides, so there is none of the
cancellation that expanding ‖X Aᵀ‖² − 2⟨·,·⟩ + ‖X* A*ᵀ‖² would suffer, and at the snapshot the value and its
gradient are exactly 0.

An outer factor's results are U Vᵀ, and U Vᵀ − U* V*ᵀ = U ΔVᵀ + ΔU V*ᵀ in the same manner.

For both forms task j is row j of what they are given; the mean over tasks and the factor β are the caller's.
Passes for other lists of tasks may round differently: for an exact 0, take the snapshot with the step's list.
"""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hypermnesia.errors import HypermnesiaError
from hypermnesia.hyper.factor import Factor, LinearFactor, OuterFactor, Shapes
from hypermnesia.hyper.tiling import tile
from hypermnesia.tensors import NamedTensors, Tensors, map_tensors, under_prefix, with_prefix


def direct(
    now: NamedTensors,
    then: NamedTensors,
    masks: NamedTensors | None = None,
    fisher: NamedTensors | None = None,
) -> Tensor:
    """Squared distance of every task's tensors to stored ones: (T,).

    `now` and `then` hold (T, *shape) by name. `masks` holds (T, shape[0]), which output units of a tensor
    count (see `unit_masks`); tensors without a mask count fully. `fisher` holds (T, *shape) weights of the
    squared differences, for every name (Fisher information of each entry on its task).
    """
    distances = []
    for name, value in now.items():
        if value.shape != then[name].shape:
            raise HypermnesiaError(
                f"drift of {name!r}: {tuple(value.shape)} now and {tuple(then[name].shape)} then; "
                "both must hold the same tasks"
            )
        squares = (value - then[name]).square()
        if fisher is not None:
            squares = squares * fisher[name]
        if masks is not None and name in masks:
            squares = squares * masks[name].reshape(*squares.shape[:2], *(1,) * (squares.ndim - 2))
        distances.append(squares.reshape(len(squares), -1).sum(1))
    return torch.stack(distances).sum(0)


def snapshot(
    then: Sequence[Factor], masks: NamedTensors | None = None, dtype: torch.dtype | None = None
) -> Tensors:
    """What `gram` needs to know of the past, as plain tensors: made once, when a task starts.

    `then` are the generator's factors for the earlier tasks, at the values to hold on to. `masks` is as for
    `direct`. `dtype`: precision of the products over the long axis, such as `torch.bfloat16`; their factors
    are changes, so a relative error in them is one of the penalty. Default: that of the weights.
    """
    anchor: Tensors = {}
    masks = masks or {}
    shapes = {name: shape for factor in then for name, shape in factor.shapes.items()}
    tasks = then[0].z.shape[0] if isinstance(then[0], LinearFactor) else then[0].u.shape[0]
    for name, mask in masks.items():
        _check_mask(name, mask, shapes, tasks)
    for i, factor in enumerate(then):
        if isinstance(factor, OuterFactor):
            own = {"u": factor.u, "v": factor.v}
        else:
            own = {"z": factor.z, "weight": factor.weight, "products": _products(factor, masks)}
            own |= {"shared": factor.shared} if factor.shared is not None else {}
            own |= {"rounded": factor.weight.to(dtype)} if dtype is not None else {}
        anchor |= with_prefix(f"{i}.", map_tensors(lambda value: value.detach().clone(), own))
    return anchor | with_prefix("mask.", dict(masks))


def gram(now: Sequence[Factor], anchor: NamedTensors, tasks: Tensor | slice | None = None) -> Tensor:
    """Squared distance of every task's tensors to those of the snapshot, without building either: (T,).

    `now` are the generator's factors for the same tasks in the same order. If they are for some of the
    snapshot's tasks only, `tasks` holds the positions of those in it. Equal to `direct` up to rounding.
    """
    masks = under_prefix("mask.", anchor)
    if tasks is not None:
        masks = map_tensors(lambda mask: mask[tasks], masks)
    distances = []
    for i, factor in enumerate(now):
        then = under_prefix(f"{i}.", anchor)
        if tasks is not None:
            then |= {key: then[key][tasks] for key in ("z", "u", "v") if key in then}
        _check_tasks(factor, then)
        distances.append(
            _linear(factor, then, masks) if isinstance(factor, LinearFactor) else _outer(factor, then, masks)
        )
    return torch.stack(distances).sum(0)


def choose(factors: Sequence[Factor]) -> Literal["gram", "direct"]:
    """The cheaper form for these tasks and this generator, by count of multiplications.

    For one long linear factor this is `gram` as soon as tasks × rows exceeds 2 d. Reads shapes alone.
    """
    direct_cost = gram_cost = 0
    for factor in factors:
        if isinstance(factor, LinearFactor):
            m, d = factor.weight.shape
            rows = factor.z.shape[0] * factor.rows
            direct_cost += rows * m * d
            gram_cost += 2 * m * d**2 + 4 * rows * d**2
        else:
            tasks, matrices, out, rank = factor.u.shape
            inputs = factor.v.shape[2]
            direct_cost += tasks * matrices * out * inputs * rank
            gram_cost += 3 * tasks * matrices * (out + inputs) * rank**2
    return "gram" if gram_cost < direct_cost else "direct"


def unit_masks(
    units: Sequence[Collection[int]], names: Collection[str], shapes: Mapping[str, torch.Size]
) -> Tensors:
    """Masks of an output layer of which every task uses some units: name → bool (T, shape[0]).

    `units[j]` are the output units of task j; `names` are the layer's tensors (weight and bias), `shapes`
    theirs.
    """
    masks: Tensors = {}
    for name in names:
        if name not in shapes:
            raise HypermnesiaError(f"unit_masks: no tensor {name!r}; there are: {', '.join(shapes)}")
        width = shapes[name][0]
        mask = torch.zeros(len(units), width, dtype=torch.bool)
        for task, own in enumerate(units):
            outside = [unit for unit in own if not 0 <= unit < width]
            if outside:
                raise HypermnesiaError(
                    f"unit_masks: task {task} uses unit {outside[0]}, but {name!r} has {width} units"
                )
            mask[task, list(own)] = True
        masks[name] = mask
    return masks


class _Form(NamedTuple):
    """The blocks of Q = [ΔA  A*]ᵀ [ΔA  A*], each (d, d)."""

    squares: Tensor
    """ΔAᵀΔA."""
    mixed: Tensor
    """ΔAᵀA*."""
    products: Tensor
    """A*ᵀA*."""


class _Rows(NamedTuple):
    """Inputs x and their changes Δx, both (T, r, d)."""

    x: Tensor
    dx: Tensor


def _linear(now: LinearFactor, then: NamedTensors, masks: NamedTensors) -> Tensor:
    """(T,) for a linear factor.

    Tensors with a mask are compared entry by entry: whatever a mask drops has a gradient of exactly 0.
    """
    tiling = tile(now.rows, now.outputs, now.shapes, masks)
    forms = _forms(now.weight, then, tiling.segments)
    own, shared = _inputs(now, then)
    total = now.z.new_zeros(now.z.shape[0])
    heights = [bottom - top for top, bottom, _ in tiling.bands]
    bands = zip(tiling.bands, _split(own if shared is None else shared, heights), strict=True)
    for (_, _, used), rows in bands:
        if used:
            form = _sum([forms[i] for i in used])
            total = total + (_energy(form, rows) if shared is None else _shared_energy(form, own, rows))
    for name, first, (top, bottom, left, right) in tiling.pieces:
        start = then["weight"][left:right]
        x, dx = own if shared is None else (own.x + shared.x, own.dx + shared.dx)
        moved = x[:, top:bottom] @ (now.weight[left:right] - start).mT + dx[:, top:bottom] @ start.mT
        kept = _entries(masks[name], now.shapes[name])[:, first : first + moved[0].numel()]
        total = total + (moved.square() * kept.view_as(moved)).sum((1, 2))
    return total


def _forms(weight: Tensor, then: NamedTensors, segments: Sequence[tuple[int, int]]) -> list[_Form]:
    """Q of every segment of the outputs: the only place where the long axis is read."""
    start, products = then["weight"], then["products"]
    partner = then.get("rounded", start)
    pieces = weight.split([right - left for left, right in segments]) if len(segments) > 1 else [weight]
    forms = []
    for i, (left, right) in enumerate(segments):
        change = (pieces[i] - start[left:right]).to(partner)
        squares, mixed = change.mT @ change, change.mT @ partner[left:right]
        forms.append(_Form(squares.to(products), mixed.to(products), products[i]))
    return forms


def _sum(forms: Sequence[_Form]) -> _Form:
    first, *others = forms
    return _Form(*(a + b for a, b in zip(first, _sum(others), strict=True))) if others else first


def _inputs(now: LinearFactor, then: NamedTensors) -> tuple[_Rows, _Rows | None]:
    """The rows (T, r, d) and None; with shared inputs (T, 1, d) and (1, r, d), which add up to the rows."""
    own = _Rows(now.z, now.z - then["z"])
    if now.shared is None:
        return own, None
    shared = _Rows(now.shared[None], now.shared[None] - then["shared"])
    c, e = now.shared.shape[-1], now.z.shape[-1]
    return _Rows(*(F.pad(part, (c, 0)) for part in own)), _Rows(*(F.pad(part, (0, e)) for part in shared))


def _split(rows: _Rows, heights: Sequence[int]) -> list[_Rows]:
    """The rows in parts, side by side. One split, not slices: its backward writes each gradient once."""
    if len(heights) == 1:
        return [rows]
    parts = zip(rows.x.split(heights, 1), rows.dx.split(heights, 1), strict=True)
    return [_Rows(x.contiguous(), dx.contiguous()) for x, dx in parts]


def _energy(form: _Form, rows: _Rows) -> Tensor:
    """Σ over rows (T, r, d) of [x Δx] Q [x Δx]ᵀ: (T,)."""
    x, dx = rows.x.flatten(0, 1), rows.dx.flatten(0, 1)
    mixed = torch.add(dx @ form.products, x @ form.mixed, alpha=2)
    per_row = ((x @ form.squares) * x).sum(1) + (mixed * dx).sum(1)
    return per_row.view(rows.x.shape[:2]).sum(1)


def _shared_energy(form: _Form, own: _Rows, shared: _Rows) -> Tensor:
    """Σ_i (p + q_i) Q (p + q_i)ᵀ, (T,), for each task's row p (T, 1, d) and the rows q_i (1, r, d) of all.

    Expanded, r p Q pᵀ + 2 p Q (Σ q_i)ᵀ + Σ q_i Q q_iᵀ, so that it costs T + r rows and not T · r.
    """
    x, dx = shared.x.sum(1), shared.dx.sum(1)
    towards_x, towards_dx = x @ form.squares + dx @ form.mixed.mT, x @ form.mixed + dx @ form.products
    mixed = (own.x[:, 0] * towards_x + own.dx[:, 0] * towards_dx).sum(1)
    return shared.x.shape[1] * _energy(form, own) + 2 * mixed + _energy(form, shared)


def _outer(now: OuterFactor, then: NamedTensors, masks: NamedTensors) -> Tensor:
    """(T,) for an outer factor: ‖U ΔVᵀ + ΔU V*ᵀ‖² from rank × rank matrices. Masks drop rows of U and ΔU."""
    v, du, dv = then["v"], now.u - then["u"], now.v - then["v"]
    u, du_kept = now.u, du
    if any(name in masks for name in now.shapes):
        all_units = torch.ones(now.u.shape[0], now.u.shape[2], dtype=torch.bool, device=now.u.device)
        kept = torch.stack([masks.get(name, all_units) for name in now.shapes], 1)[..., None]
        u, du_kept = u * kept, du * kept
    distance = (u.mT @ now.u) * (dv.mT @ dv) + 2 * (u.mT @ du) * (dv.mT @ v) + (du_kept.mT @ du) * (v.mT @ v)
    return distance.sum((1, 2, 3))


def _entries(mask: Tensor, shape: torch.Size) -> Tensor:
    """A mask of output units (T, shape[0]) for every entry, in row-major order: (T, entries)."""
    return mask[:, :, None].expand(*mask.shape, prod(shape[1:])).flatten(1)


def _products(factor: LinearFactor, masks: NamedTensors) -> Tensor:
    """A*ᵀA* of every segment: (segments, d, d)."""
    tiling = tile(factor.rows, factor.outputs, factor.shapes, masks)
    pieces = [factor.weight[left:right] for left, right in tiling.segments]
    return torch.stack([piece.mT @ piece for piece in pieces])


def _check_mask(name: str, mask: Tensor, shapes: Shapes, tasks: int) -> None:
    if name not in shapes:
        raise HypermnesiaError(
            f"drift: a mask for {name!r}, which is not written; there are: {', '.join(shapes)}"
        )
    if mask.shape != (tasks, shapes[name][0]):
        raise HypermnesiaError(
            f"drift: the mask of {name!r} has shape {tuple(mask.shape)}, expected (tasks, output units) = "
            f"({tasks}, {shapes[name][0]})"
        )


def _check_tasks(now: Factor, then: NamedTensors) -> None:
    key = "z" if isinstance(now, LinearFactor) else "u"
    value: Tensor = getattr(now, key)
    if key not in then or value.shape != then[key].shape:
        held = tuple(then[key].shape) if key in then else "none"
        raise HypermnesiaError(
            f"drift: the factors now have inputs of shape {tuple(value.shape)}, the snapshot's have {held}; "
            "pass `tasks` if they are for some of its tasks only"
        )
