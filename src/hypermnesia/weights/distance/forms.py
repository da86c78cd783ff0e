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
from typing import Any, Literal

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import NamedTensors, Tensors, map_tensors, under_prefix, with_prefix
from hypermnesia.weights.distance.gram import Linear, Snapshot, distance
from hypermnesia.weights.distance.tiling import tile
from hypermnesia.weights.hypernets.factors import Factor, LinearFactor, OuterFactor, Shapes


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
        change = value - then[name]
        if fisher is None and (masks is None or name not in masks):
            distances.append(_Squares.apply(change.reshape(len(change), -1)))
            continue
        squares = change.square()
        if fisher is not None:
            squares = squares * fisher[name]
        if masks is not None and name in masks:
            squares = squares * masks[name].reshape(*squares.shape[:2], *(1,) * (squares.ndim - 2))
        distances.append(squares.reshape(len(squares), -1).sum(1))
    return torch.stack(distances).sum(0)


class _Squares(torch.autograd.Function):
    """Σ of the squares in each row of x (T, n): (T,). Reads x once, and once more for the gradient, where `square` and `sum`
    write three tensors of that size on the way there and back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=1).square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [x] = ctx.saved_tensors
        return (2 * gradients[0])[:, None] * x


def snapshot(
    then: Sequence[Factor],
    masks: NamedTensors | None = None,
    dtype: torch.dtype | None = None,
    inputs: bool = True,
) -> Tensors:
    """What `gram` needs to know of the past, as plain tensors: made once, when a task starts.

    `then` are the generator's factors for the earlier tasks, at the values to hold on to. `masks` is as for
    `direct`. `dtype`: precision of the matrix products, such as `torch.bfloat16`; each has a change as a factor,
    so a relative error in them is one of the penalty. Default: that of the weights. `inputs=False` leaves the
    tasks' own inputs out, all that grows with tasks: `gram` is then given `then` again.
    """
    anchor: Tensors = {}
    masks = masks or {}
    shapes = {name: shape for factor in then for name, shape in factor.shapes.items()}
    tasks = len(next(iter(_inputs(then[0]).values())))
    for name, mask in masks.items():
        _check_mask(name, mask, shapes, tasks)
    for i, factor in enumerate(then):
        own = _inputs(factor) if inputs else {}
        if isinstance(factor, LinearFactor):
            own |= {"weight": factor.weight, "products": _products(factor, masks)}
            own |= {"shared": factor.shared} if factor.shared is not None else {}
            own |= {"rounded": factor.weight.to(dtype)} if dtype is not None else {}
        anchor |= with_prefix(f"{i}.", map_tensors(lambda value: value.detach().clone(), own))
    return anchor | with_prefix("mask.", dict(masks))


def gram(
    now: Sequence[Factor],
    anchor: NamedTensors,
    tasks: Tensor | slice | None = None,
    weights: Tensor | None = None,
    then: Sequence[Factor] | None = None,
) -> Tensor:
    """Σ over tasks of the squared distance of a task's tensors to those of the snapshot, without building either.

    `now` are the generator's factors for the same tasks in the same order. If they are for some of the
    snapshot's tasks only, `tasks` holds the positions of those in it. `weights` (T,): constant factors of the
    tasks' distances, at least 0; None = 1. `then`: the factors for these tasks at the time of the snapshot, if
    it was taken without inputs. A scalar, equal to the weighted sum of `direct` up to rounding.
    """
    masks = under_prefix("mask.", anchor)
    if tasks is not None:
        masks = map_tensors(lambda mask: mask[tasks], masks)
    distances = []
    for i, factor in enumerate(now):
        past = under_prefix(f"{i}.", anchor)
        if then is not None:
            past |= _inputs(then[i])
        elif tasks is not None:
            past |= {key: past[key][tasks] for key in ("z", "u", "v") if key in past}
        _check_tasks(factor, past)
        distances.append(
            _linear(factor, past, masks, weights)
            if isinstance(factor, LinearFactor)
            else _outer(factor, past, masks, weights)
        )
    return torch.stack(distances).sum()


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


def _linear(now: LinearFactor, then: NamedTensors, masks: NamedTensors, weights: Tensor | None) -> Tensor:
    """The weighted sum over tasks for a linear factor.

    Tensors with a mask are compared entry by entry: whatever a mask drops has a gradient of exactly 0.
    """
    tiling = tile(now.rows, now.outputs, now.shapes, masks)
    past = Linear(then["z"], then["weight"], then.get("shared"))
    snapshot = Snapshot(past, then.get("rounded", past.weight), then["products"])
    total = distance(Linear(now.z, now.weight, now.shared), snapshot, tiling, weights)
    dz = now.z - past.own
    for name, first, (top, bottom, left, right) in tiling.pieces:
        start = past.weight[left:right]
        if past.shared is None or now.shared is None:
            x, dx = now.z[:, top:bottom], dz[:, top:bottom]
        else:
            x = _beside(now.shared[top:bottom], now.z)
            dx = _beside(now.shared[top:bottom] - past.shared[top:bottom], dz)
        moved = x @ (now.weight[left:right] - start).mT + dx @ start.mT
        kept = _entries(masks[name], now.shapes[name])[:, first : first + moved[0].numel()]
        distances = (moved.square() * kept.view_as(moved)).sum((1, 2))
        total = total + (distances.sum() if weights is None else (weights * distances).sum())
    return total


def _beside(shared: Tensor, own: Tensor) -> Tensor:
    """Shared inputs (r, c) and each task's own (T, 1, e) as whole rows (T, r, c + e)."""
    tasks, rows = own.shape[0], shared.shape[0]
    return torch.cat([shared.expand(tasks, -1, -1), own.expand(-1, rows, -1)], 2)


def _outer(now: OuterFactor, then: NamedTensors, masks: NamedTensors, weights: Tensor | None) -> Tensor:
    """The weighted sum over tasks for an outer factor: ‖U ΔVᵀ + ΔU V*ᵀ‖² from rank × rank matrices.

    Masks drop rows of U and ΔU.
    """
    v, du, dv = then["v"], now.u - then["u"], now.v - then["v"]
    u, du_kept = now.u, du
    if any(name in masks for name in now.shapes):
        all_units = torch.ones(now.u.shape[0], now.u.shape[2], dtype=torch.bool, device=now.u.device)
        kept = torch.stack([masks.get(name, all_units) for name in now.shapes], 1)[..., None]
        u, du_kept = u * kept, du * kept
    distance = (u.mT @ now.u) * (dv.mT @ dv) + 2 * (u.mT @ du) * (dv.mT @ v) + (du_kept.mT @ du) * (v.mT @ v)
    return distance.sum() if weights is None else (weights * distance.sum((1, 2, 3))).sum()


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


def _inputs(factor: Factor) -> Tensors:
    """What a factor holds for each task."""
    return {"z": factor.z} if isinstance(factor, LinearFactor) else {"u": factor.u, "v": factor.v}


def _check_tasks(now: Factor, then: NamedTensors) -> None:
    key = "z" if isinstance(now, LinearFactor) else "u"
    value: Tensor = getattr(now, key)
    if key not in then or value.shape != then[key].shape:
        held = tuple(then[key].shape) if key in then else "none"
        raise HypermnesiaError(
            f"drift: the factors now have inputs of shape {tuple(value.shape)}, the snapshot's have {held}; "
            "pass `tasks` if they are for some of its tasks only"
        )
