"""Class-incremental streams with repetition (Hemati et al. 2023, arXiv:2301.11396): classes come back.

Both generators evaluate class by class on the whole test set: with returning classes a test part belongs to
no task.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.build import Cut, build, check_tasks, rows, tested_by_class
from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.sources.source import Source
from hypermnesia.data.stream import Stream


def slots(
    source: Source,
    *,
    tasks: int,
    classes_per_task: int,
    seed: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "cir-slot",
) -> Stream:
    """The slot generator G_slot(N, K): N tasks of K slots; every training sample occurs exactly once.

    The N·K slots are dealt evenly to the classes in random order, and a class's shuffled samples are cut into
    its slots, whose sizes differ by one at most (the published code drops what does not divide). Tasks are
    filled from the last to the first with K different classes, drawn uniformly among those that own slots;
    once fewer than K do, they give several each, so the first tasks may show fewer classes. K = C/N
    is class-incremental, K = C domain-incremental. Raises `HypermnesiaError` unless K ≤ C ≤ N·K and each
    class can fill its slots.
    """
    count = len(source.class_names)
    check_tasks(tasks)
    if classes_per_task > count or tasks * classes_per_task < count:
        raise HypermnesiaError(
            f"{name}: {tasks} tasks of {classes_per_task} slots for the {count} classes of {source.name}; "
            f"expected at most {count} slots in a task and at least {count} in all"
        )
    left = _slots(source.train.y, count, tasks * classes_per_task, generator(seed, "slots"))
    rng = generator(seed, "slot order")
    filled = [_fill(left, classes_per_task, rng) for _ in range(tasks)]
    return _stream(source, list(reversed(filled)), preprocess, name)


def _slots(y: Tensor, classes: int, total: int, rng: torch.Generator) -> list[list[Tensor]]:
    """For every class its slots in random order: each a tensor of rows."""
    counts = torch.full((classes,), total // classes)
    counts[torch.randperm(classes, generator=rng)[: total % classes]] += 1
    slots = []
    for c, number in enumerate(counts.tolist()):
        members = rows(y, [c])
        if len(members) < number:
            raise HypermnesiaError(
                f"class {c} has {len(members)} samples for {number} slots; use fewer tasks or slots"
            )
        members = members[torch.randperm(len(members), generator=rng)]
        pieces = list(members.tensor_split(number))
        slots.append([pieces[i] for i in torch.randperm(number, generator=rng).tolist()])
    return slots


def _fill(left: list[list[Tensor]], wanted: int, rng: torch.Generator) -> list[Tensor]:
    """Takes `wanted` slots out of `left`, of different classes as far as there are so many."""
    owners = [c for c, slots in enumerate(left) if slots]
    chosen = torch.randperm(len(owners), generator=rng)[:wanted].tolist()
    taken = [left[owners[i]].pop() for i in chosen]
    return taken + _fill(left, wanted - len(taken), rng) if len(taken) < wanted else taken


def sampling(
    source: Source,
    *,
    tasks: int,
    samples_per_task: int,
    first: Tensor,
    recurrence: float | Tensor,
    seed: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "cir-sampling",
) -> Stream:
    """The sampling generator G_samp: classes appear and return at random, and samples repeat across tasks.

    `first`: (tasks,) weights ≥ 0 of the task in which a class appears first, such as `geometric(tasks, p)`.
    `recurrence`: probability that a class which has appeared is in a later task; one for all, or one for each
    class, (C,), which are dealt to the classes at random. Each task draws `samples_per_task` samples, evenly
    from its classes and without repeating one within the task; a class that runs short gives all it has and
    the others make up for it, so a task is smaller only when its classes have no more. Tasks without a class
    are left out.
    """
    check_tasks(tasks)
    count = len(source.class_names)
    chances = torch.as_tensor(recurrence, dtype=torch.float64).expand(count)
    if len(first) != tasks or not bool((first >= 0).all() & (first.sum() > 0)):
        raise HypermnesiaError(f"{name}: `first` is {first}; expected {tasks} weights ≥ 0, not all 0")
    if not bool(((chances >= 0) & (chances <= 1)).all()):
        raise HypermnesiaError(f"{name}: recurrence is {recurrence}; expected probabilities in 0..1")
    rng = generator(seed, "occurrence")
    chances = chances[torch.randperm(count, generator=rng)]
    starts = torch.multinomial(first.double(), count, replacement=True, generator=rng)
    returns = torch.rand(tasks, count, generator=rng, dtype=torch.float64) < chances
    times = torch.arange(tasks).unsqueeze(1)
    present = (times == starts) | (times > starts) & returns
    members = [rows(source.train.y, [c]) for c in range(count)]
    filled = []
    for t, row in enumerate(present):
        classes = row.nonzero().squeeze(1).tolist()
        if classes:
            filled.append(_sample(members, classes, samples_per_task, generator(seed, "sampling", t)))
    return _stream(source, filled, preprocess, name)


def _sample(
    members: Sequence[Tensor], classes: Sequence[int], total: int, rng: torch.Generator
) -> list[Tensor]:
    """`total` rows, or as many as there are, spread evenly over `classes`; who gets one more is random."""
    order = [classes[i] for i in torch.randperm(len(classes), generator=rng).tolist()]
    order.sort(key=lambda c: len(members[c]))
    chosen, remaining = [], total
    # From the smallest class on, each takes an even share of what is still wanted, so shortfalls move to
    # larger ones.
    for place, c in enumerate(order):
        wanted = -(-remaining // (len(order) - place))
        rows_c = members[c][torch.randperm(len(members[c]), generator=rng)[:wanted]]
        remaining -= len(rows_c)
        chosen.append(rows_c)
    return chosen


def geometric(tasks: int, p: float) -> Tensor:
    """Weights (tasks,) of a first appearance in task t = 1, 2, ...: (1 − p)^(t−1), for 0 < p ≤ 1."""
    return (1 - p) ** torch.arange(tasks, dtype=torch.float64)


def dual(classes: int, fraction: float, low: float, high: float) -> Tensor:
    """Recurrence (classes,) of an unbalanced stream: `low` for this fraction of classes, else `high`."""
    chances = torch.full((classes,), high, dtype=torch.float64)
    chances[: int(fraction * classes + 1e-9)] = low  # 0.29 · 100 is a hair below 29
    return chances


def _stream(
    source: Source, filled: Sequence[Sequence[Tensor]], preprocess: Preprocess | None, name: str
) -> Stream:
    cuts = []
    for t, pieces in enumerate(filled):
        train = torch.cat(list(pieces)).sort().values
        classes = source.train.y[train].unique().tolist()
        cuts.append(Cut(f"experience {t}", tuple(classes), train, rows(source.test.y, classes)))
    return tested_by_class(build(name, source, cuts, preprocess=preprocess), source)
