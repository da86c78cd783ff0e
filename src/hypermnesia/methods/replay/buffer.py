"""A replay memory: up to M samples of the past, which of them stay, and how they are drawn.

`Memory` is the whole state, tensors and numbers that a checkpoint stores as they are. Samples, labels and
logits lie on the memory's device. Slots are chosen on the host: the reservoir, the draws and every counter
never wait for the device; the policies that go by class read the labels of each inserted batch (one copy to
the host per insertion on a GPU).

Policies, all exact for a batch of any size:

- reservoir: every item offered so far is kept with the same probability M/seen (Vitter 1985, algorithm R).
- class-balanced: equal quotas for the classes met so far, each class a uniform sample of its own items (as
  the class-balancing reservoir of Chrysakis & Moens 2020, but for whole batches).
- frequency-aware: the same with quotas in proportion to 1/O[c], O[c] the number of experiences in which class
  c appeared (Hemati et al. 2023, arXiv:2301.11396), in one rounding: the largest remainder.
- ring: equal quotas for the classes of each task met so far, each its latest items (Chaudhry et al. 2019,
  arXiv:1902.10486, for tasks that bring classes of their own; the last samples of each task, as GEM's memory).
- herding: equal quotas, filled by `herd` at the end of a task with the items whose mean is closest to the
  class mean (iCaRL, Rebuffi et al. 2017, arXiv:1611.07725).
- greedy: GSS chooses, by gradients (`methods/gss.py`); lars: ER, by losses (`loss_aware.py`).

Those of quotas give the slots that a class cannot fill to the classes that can, so all M slots are used as
soon as M items were offered. Their one rule: each item has a key, and a class keeps its items of smallest
key, as many as its quota allows. Random keys make that a uniform sample of the class at whatever size it has
shrunk to (a quota that grows again is filled by items still to come); herding's keys are ranks, the ring's count down.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.methods.replay.herding import herding

Policy = Literal["reservoir", "class-balanced", "frequency-aware", "ring", "lars", "greedy", "herding"]
POLICIES: tuple[str, ...] = get_args(Policy)
OWNERS = {"herding": "icarl and lucir", "greedy": "gss", "lars": "er"}
"""Policies that go by more than the samples → the methods that know it."""
INSERTING = tuple(policy for policy in POLICIES if policy not in OWNERS)
"""Policies for any method, and for a memory by itself."""
Places = tuple[list[int], list[int]]  # slots to write, each once, and the rows of the batch that go there


@dataclass
class Memory:
    """M slots, of which the first `filled` are in use. Made by `empty`, changed in place by `insert` and
    `herd`.
    """

    opaque: ClassVar[bool] = True
    """Its samples come to a loss with the draw: a step never looks into the memory itself."""

    x: Tensor
    """(M, …) samples as they came, uint8 images before augmentation; on the device."""
    y: Tensor
    """(M,) int64 global class ids, or float32 numbers; on the device."""
    task: Tensor
    """(M,) int64 task of each sample; on the host."""
    logits: Tensor | None
    """(M, outputs) float32 logits remembered with the samples, or None; on the device."""
    keys: Tensor
    """(M,) float64 on the host, smaller stays longer; without entries for the reservoir."""
    appearances: Tensor
    """(C,) int64 on the host: O[c], experiences in which class c appeared; grows with the largest class id
    met. Only the frequency-aware policy counts."""
    latest: Tensor
    """(C,) int64 on the host: the last experience counted in `appearances`, −1 before the first."""
    policy: Policy
    filled: int
    """Slots in use, 0..M."""
    seen: int
    """Items offered so far, over all tasks and epochs."""

    @property
    def capacity(self) -> int:
        """M."""
        return len(self.y)

    def classes(self) -> dict[int, int]:
        """Global class id -> number of samples held."""
        return _counted(self.y[: self.filled].cpu())

    def tasks(self) -> dict[int, int]:
        """Task -> number of samples held. Does not wait for the device."""
        return _counted(self.task[: self.filled])

    def images(self, count: int) -> Tensor:
        """(min(count, filled), …) samples on the host, sorted by class and spread evenly over the classes' slots."""
        by_class = self.y[: self.filled].argsort(stable=True)
        return self.x[by_class[torch.linspace(0, self.filled - 1, min(count, self.filled)).long()]].cpu()


@dataclass(frozen=True)
class Drawn:
    """m samples of a memory, in the order of the draw."""

    x: Tensor
    """(m, …) as stored; on the memory's device, like all else."""
    y: Tensor
    """(m,) int64 global class ids."""
    logits: Tensor | None
    """(m, outputs) float32, if the memory keeps them."""
    index: Tensor
    """(m,) int64 slots."""


def check(capacity: int, num_classes: int) -> None:
    """Error for a memory that can hold nothing, warning for one that cannot hold every class of a stream."""
    if capacity < 1:
        raise HypermnesiaError(
            f"memory.size={capacity}: a replay memory needs at least one slot; "
            "give memory.size=200, say, or choose an approach without a memory"
        )
    if capacity < num_classes:
        warnings.warn(
            f"memory.size={capacity} is smaller than the {num_classes} classes of the stream: some classes "
            f"will not be rehearsed at all; give at least memory.size={num_classes}",
            stacklevel=2,
        )


def of_owner(policy: str) -> HypermnesiaError:
    """The error for one of `OWNERS` where it is another's; for raising."""
    return HypermnesiaError(f"memory.policy={policy} is a part of {OWNERS[policy]}: choose another policy")


def empty(
    capacity: int,
    shape: Sequence[int],
    *,
    outputs: int | None = None,
    policy: Policy = "reservoir",
    dtype: torch.dtype = torch.uint8,
    labels: torch.dtype = torch.int64,
    device: torch.device | str = "cpu",
) -> Memory:
    """A memory of `capacity` ≥ 1 samples of `shape` with class ids, or float32 numbers, as `labels`; with `outputs`, of so many
    logits per sample too."""
    check(capacity, num_classes=0)
    if policy not in POLICIES:
        raise unknown("memory policy", policy, POLICIES)
    if labels.is_floating_point and policy != "reservoir":
        raise HypermnesiaError(
            f"memory.policy={policy} goes by classes; of numbers take memory.policy=reservoir"
        )
    return Memory(
        x=torch.zeros(capacity, *shape, dtype=dtype, device=device),
        y=torch.zeros(capacity, dtype=labels, device=device),
        task=torch.zeros(capacity, dtype=torch.int64),
        logits=None if outputs is None else torch.zeros(capacity, outputs, device=device),
        keys=torch.zeros(0 if policy == "reservoir" else capacity, dtype=torch.float64),
        appearances=torch.zeros(0, dtype=torch.int64),
        latest=torch.zeros(0, dtype=torch.int64),
        policy=policy,
        filled=0,
        seen=0,
    )


def insert(
    memory: Memory, x: Tensor, y: Tensor, task: int, logits: Tensor | None, rng: torch.Generator
) -> Memory:
    """Offer a batch to the memory. Writes into the memory's own storage and returns the memory.

    `x` (B, …) raw samples, `y` (B,) global class ids, both on the memory's device, of one `task` (the
    experience, in a stream with repetition: they must come in order for the frequency-aware policy to count
    them); `logits` (B, outputs) if and only if the memory keeps them. B numbers are taken from `rng`, a CPU
    generator, whatever happens.
    """
    _check_batch(memory, x, y, logits)
    if memory.policy in OWNERS:
        raise of_owner(memory.policy)
    draws = torch.rand(len(y), dtype=torch.float64, generator=rng)
    if memory.policy == "reservoir":
        places = _reservoir(memory, draws.tolist())
    elif memory.policy == "ring":
        draws = -torch.arange(memory.seen, memory.seen + len(y), dtype=torch.float64)
        places = _smallest_keys(memory, *_by_task(memory, y.cpu().numpy(), task), draws.numpy())
    else:
        classes = y.cpu().numpy()
        if memory.policy == "frequency-aware":
            _count_appearances(memory, classes, task)
        places = _smallest_keys(memory, _held_classes(memory), classes, draws.numpy())
    return store(memory, places, x, y, task, logits, draws)


def herd(memory: Memory, x: Tensor, y: Tensor, task: int, logits: Tensor | None, features: Tensor) -> Memory:
    """Offer all B samples of a task that ended to a memory of policy herding; older classes make room.

    As `insert`, but `features` (B, d) decide: each class keeps its samples in the order in which `herding`
    picks them. iCaRL gives it L2-normalised features.
    """
    _check_batch(memory, x, y, logits)
    if memory.policy != "herding" or len(features) != len(y):
        raise ValueError(
            f"memory.herd needs a memory of policy 'herding' and one row of features per sample, got "
            f"{memory.policy!r} and {len(features)} rows for {len(y)} samples"
        )
    classes = y.cpu().numpy()
    quota = _quotas_by_class(memory, np.concatenate([_held_classes(memory), classes]))
    ranks = torch.full((len(y),), torch.inf, dtype=torch.float64)
    for label in np.unique(classes):
        rows = torch.from_numpy(np.flatnonzero(classes == label))
        order = herding(features[rows.to(features.device)], min(len(rows), int(quota[label]))).cpu()
        ranks[rows[order]] = torch.arange(len(order), dtype=torch.float64)
    places = _smallest_keys(memory, _held_classes(memory), classes, ranks.numpy())
    return store(memory, places, x, y, task, logits, ranks)


def draw(
    memory: Memory, count: int, rng: torch.Generator, *, by_task: Sequence[int] | None = None, times: int = 1
) -> Drawn:
    """Draw samples uniformly, each at most once: m = min(count, filled) of them, in random order.

    So m depends on how many items were offered, never on what they are; it is 0 while the memory is empty.

    With `by_task`, a fixed-size slice for each listed task instead: share = count // len(by_task) samples of
    by_task[0], then of by_task[1], and so on; m = share · len(by_task) always. Within a task uniform, each
    sample at most once, unless the task has fewer than its share: then with replacement. Each listed task
    must be in `memory.tasks()`.

    `times`: so many draws one after the other, which all count in m. `rng` is a CPU generator.
    """
    if count < 1:
        raise ValueError(f"memory.draw: count must be at least 1, got {count}")
    if by_task is None:
        draws = [torch.randperm(memory.filled, generator=rng)[:count] for _ in range(times)]
    else:
        draws = [_stratified(memory, count, by_task, rng) for _ in range(times)]
    slots = draws[0] if times == 1 else torch.cat(draws)
    index = slots.to(memory.x.device, non_blocking=True) if memory.x.is_cuda else slots
    return Drawn(
        x=memory.x.index_select(0, index),
        y=memory.y.index_select(0, index),
        logits=None if memory.logits is None else memory.logits.index_select(0, index),
        index=index,
    )


def quotas(capacity: int, weights: NDArray[np.float64], available: NDArray[np.int64]) -> NDArray[np.int64]:
    """Slots for each class: in proportion to `weights` (C,) > 0, but no more than the `available` (C,) items.

    A class that has fewer items than its share keeps them all, and the rest is shared among the others in the
    same proportion; what is left is rounded by the largest remainder, ties to the lower index. Sums to
    min(capacity, Σ available).
    """
    quota = available.copy()
    if quota.sum() <= capacity:
        return quota
    full = np.ones(len(quota), dtype=bool)  # classes with more items than slots
    while True:
        left = capacity - int(quota[~full].sum())
        share = left * weights[full] / weights[full].sum()
        short = available[full] <= share
        if not short.any():
            break
        full[np.flatnonzero(full)[short]] = False
    whole = np.floor(share).astype(np.int64)
    first = np.argsort(whole - share, kind="stable")[: left - int(whole.sum())]
    whole[first] += 1
    quota[full] = whole
    return quota


def _reservoir(memory: Memory, draws: Sequence[float]) -> Places:
    """Algorithm R: item t goes to slot ⌊u·(t+1)⌋ if there is one. Of two rows for one slot the last stays."""
    winners: dict[int, int] = {}
    capacity = memory.capacity
    for row, uniform in enumerate(draws, start=memory.seen):
        slot = row if row < capacity else int(uniform * (row + 1))
        if slot < capacity:
            winners[slot] = row - memory.seen
    return list(winners), list(winners.values())


def _by_task(
    memory: Memory, classes: NDArray[np.int64], task: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(labels of the held items, of the offered ones) that tell apart the classes of each task."""
    held = np.stack([memory.task[: memory.filled].numpy(), _held_classes(memory)])
    offered = np.stack([np.full_like(classes, task), classes])
    labels = np.unique(np.concatenate([held, offered], axis=1), axis=1, return_inverse=True)[1].reshape(-1)
    return labels[: memory.filled], labels[memory.filled :]


def _smallest_keys(
    memory: Memory, held: NDArray[np.int64], offered: NDArray[np.int64], keys: NDArray[np.float64]
) -> Places:
    """Each class keeps its items of smallest key, as many as its quota; `held` and `offered` are the items' classes."""
    filled = memory.filled
    labels = np.concatenate([held, offered])
    keys = np.concatenate([memory.keys[:filled].numpy(), keys])
    quota = _quotas_by_class(memory, labels)
    kept = np.ones(len(labels), dtype=bool)
    for label in np.flatnonzero(np.bincount(labels, minlength=len(quota)) > quota):
        items = np.flatnonzero(labels == label)
        room = quota[label]
        kept[items[np.argpartition(keys[items], room)[room:]]] = False
    rows = np.flatnonzero(kept[filled:])
    free = np.concatenate([np.flatnonzero(~kept[:filled]), np.arange(filled, memory.capacity)])
    return free[: len(rows)].tolist(), rows.tolist()


def _quotas_by_class(memory: Memory, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(largest id + 1,) slots of each class if the memory is to choose among items of these `labels`."""
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    if memory.policy == "frequency-aware":
        weights = 1.0 / memory.appearances.numpy()[present]
    else:
        weights = np.ones(len(present))
    quota = np.zeros_like(counts)
    quota[present] = quotas(memory.capacity, weights, counts[present])
    return quota


def _held_classes(memory: Memory) -> NDArray[np.int64]:
    return memory.y[: memory.filled].cpu().numpy()


def _count_appearances(memory: Memory, classes: NDArray[np.int64], experience: int) -> None:
    missing = int(classes.max(initial=-1)) + 1 - len(memory.latest)
    if missing > 0:
        memory.appearances = torch.cat([memory.appearances, torch.zeros(missing, dtype=torch.int64)])
        memory.latest = torch.cat([memory.latest, torch.full((missing,), -1)])
    appearances, latest = memory.appearances.numpy(), memory.latest.numpy()
    fresh = np.unique(classes)
    fresh = fresh[latest[fresh] != experience]
    appearances[fresh] += 1
    latest[fresh] = experience


def store(
    memory: Memory, places: Places, x: Tensor, y: Tensor, task: int, logits: Tensor | None, keys: Tensor
) -> Memory:
    """Write the chosen rows of an offered batch, and count the batch."""
    slots, rows = places
    if slots:
        where, chosen = torch.tensor(slots), torch.tensor(rows)
        memory.task.index_fill_(0, where, task)
        if len(memory.keys):
            memory.keys.index_copy_(0, where, keys.index_select(0, chosen))
        where, chosen = where.to(x.device, non_blocking=True), chosen.to(x.device, non_blocking=True)
        memory.x.index_copy_(0, where, x.index_select(0, chosen))
        memory.y.index_copy_(0, where, y.index_select(0, chosen))
        if memory.logits is not None and logits is not None:
            remembered = logits.detach().index_select(0, chosen)
            memory.logits.index_copy_(0, where, remembered.to(memory.logits.dtype))
    memory.seen += len(y)
    memory.filled = min(memory.capacity, memory.filled + len(y))
    return memory


def _stratified(memory: Memory, count: int, tasks: Sequence[int], rng: torch.Generator) -> Tensor:
    if not 0 < len(tasks) <= count:
        raise ValueError(
            f"memory.draw: {count} samples cannot be shared by {len(tasks)} tasks; each needs at least one"
        )
    share = count // len(tasks)
    held = memory.task[: memory.filled].numpy()
    slices = []
    for task in tasks:
        slots = torch.from_numpy(np.flatnonzero(held == task))
        if not len(slots):
            raise ValueError(
                f"memory.draw: task {task} has no sample here; samples by task: {memory.tasks()}"
            )
        if len(slots) >= share:
            picks = torch.randperm(len(slots), generator=rng)[:share]
        else:
            picks = torch.randint(len(slots), (share,), generator=rng)
        slices.append(slots[picks])
    return torch.cat(slices)


def _check_batch(memory: Memory, x: Tensor, y: Tensor, logits: Tensor | None) -> None:
    fits = x.shape[1:] == memory.x.shape[1:] and x.dtype == memory.x.dtype and len(x) == len(y)
    if memory.logits is None or logits is None:
        fits = fits and memory.logits is logits
    else:
        fits = fits and logits.shape == (len(y), memory.logits.shape[1])
    if not fits:
        raise ValueError(
            f"a batch of samples {_described(x)}, labels {_described(y)} and logits {_described(logits)} "
            f"does not fit a memory of samples {_described(memory.x)} and logits {_described(memory.logits)}"
        )


def _described(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _counted(values: Tensor) -> dict[int, int]:
    found, counts = torch.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
