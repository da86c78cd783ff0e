"""Rehearsal: memory and drawing as replay methods use them, on weights that may differ from task to task."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hypermnesia.core.declared import Checked, Count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import some
from hypermnesia.data import Task
from hypermnesia.methods.learner import Batch, Learner, Net
from hypermnesia.methods.replay.buffer import Drawn, Memory, Policy, check, draw, empty, insert
from hypermnesia.weights.model import evaluating

Fill = Literal["step", "task"]
Prepare = Callable[[Tensor, torch.Generator], Tensor]
"""(stored samples, generator) → network input."""
ROWS = 256
"""Samples that pass the network at once when a task ends; changes no result beyond rounding."""
ABSENT = -1e4
"""The logit of an output that a task does not have, where rows of several tasks are one tensor: no probability."""


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(Checked, section="memory"):
    """The replay memory of a method."""

    size: Count = 200
    """Samples kept in all, ≥ 1."""
    batch_size: Count = 32
    """Samples rehearsed in a step, ≥ 1; apart from the stream's own batch size."""
    policy: Policy = "reservoir"
    """Which samples stay: reservoir, class-balanced, frequency-aware, ring (the latest of each task's classes), lars (er alone:
    those that are answered badly); greedy and herding belong to gss and to icarl and lucir."""
    fill: Fill = "step"
    """When samples enter: after every step, so that the current task is rehearsed as well (published), or once a task has
    ended, all of its samples being offered (task), so that every draw is of earlier tasks."""
    tasks_per_step: Count = 5
    """With task-specific weights: at most so many earlier tasks are rehearsed in one step, each by an equal share."""


@dataclass(frozen=True)
class Remembered:
    """The remembered samples as the data of a phase."""

    memory: Memory

    def __len__(self) -> int:
        return self.memory.filled

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (B,) → raw samples (B, …), global class ids (B,)."""
        slots = positions.to(self.memory.y.device)
        return self.memory.x[slots], self.memory.y[slots]


@dataclass(frozen=True)
class ReplayState:
    """State of a method that keeps nothing but a memory."""

    memory: Memory


@dataclass(frozen=True)
class Block:
    """Rows start..stop of a rehearsed batch belong to one task."""

    task: int
    start: int
    stop: int


@dataclass(frozen=True)
class Replay:
    """One draw of m remembered samples, ready for a network."""

    x: Tensor
    """(m, …) freshly augmented input."""
    raw: Tensor
    """(m, …) as stored."""
    y: Tensor
    """(m,) int64 global class ids."""
    target: Tensor
    """(m,) int64 positions among the active outputs of each sample's block."""
    index: Tensor
    """(m,) int64 slots in the memory."""
    logits: Tensor | None
    """(m, outputs) remembered logits, if the memory keeps them."""
    blocks: tuple[Block, ...]
    """Consecutive rows by task; one block when all tasks share their weights."""
    classes: Tensor | None = None
    """(m, outputs) int64: the global class of every output of each sample's task, −1 past its last one. None with a
    head that all tasks share: output c is class c."""

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Several:
    """Draws of equal size that were made as one, and are taken apart where they are used: within a graph, that costs nothing."""

    whole: Replay
    """All of them, one after the other."""
    times: int
    """How many."""

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Replay]:
        whole, each = self.whole, len(self.whole) // self.times
        parts = [v.split(each) for v in (whole.x, whole.raw, whole.y, whole.target, whole.index)]
        logits = (None,) * self.times if whole.logits is None else whole.logits.split(each)
        blocks = (replace(whole.blocks[0], stop=each),)
        each_draw = zip(zip(*parts, strict=True), logits, strict=True)
        return (Replay(x, raw, y, own, index, z, blocks) for (x, raw, y, own, index), z in each_draw)


def empty_memory(learner: Learner, options: MemoryOptions, logits: bool = False) -> Memory:
    """A memory for the learner's samples; with `logits`, as wide as its widest task's active outputs.

    Warns when it cannot hold every class of the stream.
    """
    model = learner.model
    assert model.head is not None
    check(options.size, learner.num_classes)
    outputs = max(len(model.head.outputs(t)) for t in range(len(learner.classes))) if logits else None
    return empty(
        options.size,
        learner.shape,
        outputs=outputs,
        policy=options.policy,
        dtype=learner.dtype,
        labels=torch.int64 if learner.target is None else torch.float32,
        device=learner.device,
    )


def with_more_outputs(memory: Memory, learner: Learner) -> Memory:
    """The memory as wide as the learner's outputs are by now. What it remembers of the new ones is what an untrained output
    says: 0."""
    head = learner.model.head
    assert head is not None
    if memory.logits is None or head.kind != "shared":
        return memory
    missing = head.num_classes - memory.logits.shape[1]
    return replace(memory, logits=F.pad(memory.logits, (0, missing))) if missing else memory


def remember(memory: Memory, batch: Batch, rng: torch.Generator, logits: Tensor | None = None) -> Memory:
    """Offer a batch to the memory, with its logits (B, active outputs) if and only if the memory keeps them.

    Batches come in every epoch, and so are offered in every epoch, as in the published code: an image may hold
    several slots, with different logits.
    """
    if logits is not None and memory.logits is not None:
        logits = widened(logits, memory.logits.shape[1])
    return insert(memory, batch.raw, batch.y, batch.task, logits, rng)


def share_of_a_task(learner: Learner, options: MemoryOptions) -> int:
    """Samples of each task, where all of the stream's have equal parts of the memory; an error if that is none."""
    tasks = len(learner.classes)
    if options.size < tasks:
        raise HypermnesiaError(
            f"memory.size={options.size} leaves no sample for each of {tasks} tasks: give at least memory.size={tasks}"
        )
    return options.size // tasks


def with_task(memory: Memory, task: Task, count: int, rng: torch.Generator) -> Memory:
    """The memory with up to `count` samples of a finished task, chosen uniformly."""
    raw, y = task.train.batch(torch.randperm(len(task.train), generator=rng)[:count])
    return insert(memory, raw, y, task.index, None, rng)


def with_all(memory: Memory, task: Task, rng: torch.Generator) -> Memory:
    """The memory to which all samples of a finished task were offered, in random order."""
    for raw, y in shuffled(task, rng):
        memory = insert(memory, raw, y, task.index, None, rng)
    return memory


def shuffled(task: Task, rng: torch.Generator, rows: int = ROWS) -> Iterator[tuple[Tensor, Tensor]]:
    """All training samples of a finished task in random order, (raw samples, classes) of `rows` at a time."""
    for chosen in torch.randperm(len(task.train), generator=rng).split(rows):
        yield task.train.batch(chosen)


@torch.no_grad()
def with_answers(
    memory: Memory,
    learner: Learner,
    task: Task,
    rng: torch.Generator,
    change: Callable[[Tensor, Tensor], Tensor] = lambda logits, y: logits,
) -> Memory:
    """The memory to which all samples of a finished task were offered, with the logits that the network gives now, in
    evaluation mode and without augmentation. `change`: (logits (n, outputs), classes (n,)) → what is remembered instead."""
    assert memory.logits is not None
    width = memory.logits.shape[1]
    with evaluating(learner.model):
        for raw, y in shuffled(task, rng):
            logits = learner.model(learner.preprocess(raw, None), task.index).float()
            memory = insert(memory, raw, y, task.index, widened(change(logits, y), width), rng)
    return memory


def rehearse(
    memory: Memory,
    learner: Learner,
    options: MemoryOptions,
    rng: torch.Generator,
    prepare: Prepare | None = None,
) -> Replay | None:
    """Draw and augment min(batch_size, filled) remembered samples; None while the memory is empty.

    On weights that depend on the task the draw holds equal shares of at most `tasks_per_step` of the remembered
    tasks, each share a block, so that each task's weights are built once. `prepare` makes network input of what was
    stored; none = the learner's preprocessing.
    """
    if memory.filled == 0:
        return None
    prepare = prepare or learner.preprocess
    if not learner.model.depends_on_task:
        drawn = draw(memory, options.batch_size, rng)
        return _ready(drawn, (Block(learner.task, 0, len(drawn.y)),), learner, prepare(drawn.x, rng))
    tasks, most = sorted(memory.tasks()), min(options.tasks_per_step, options.batch_size)
    tasks = [tasks[i] for i in some(len(tasks), most, rng)]
    drawn = draw(memory, options.batch_size, rng, by_task=tasks)
    share = len(drawn.y) // len(tasks)
    blocks = tuple(Block(task, i * share, (i + 1) * share) for i, task in enumerate(tasks))
    return _ready(drawn, blocks, learner, prepare(drawn.x, rng))


def rehearse_each(
    memory: Memory, learner: Learner, options: MemoryOptions, rng: torch.Generator, times: int
) -> Several | list[Replay]:
    """As `rehearse` so many times, to the bit; empty while the memory is empty.

    Where nothing is augmented and tasks share their weights, all draws are gathered and prepared as one.
    """
    if memory.filled == 0 or times == 0:
        return []
    if learner.model.depends_on_task or learner.preprocess.draws:
        draws = [rehearse(memory, learner, options, rng) for _ in range(times)]
        return [replay for replay in draws if replay is not None]
    drawn = draw(memory, options.batch_size, rng, times=times)
    blocks = (Block(learner.task, 0, len(drawn.y)),)
    return Several(_ready(drawn, blocks, learner, learner.preprocess(drawn.x)), times)


def remembered(memory: Memory, learner: Learner, rng: torch.Generator, tasks: Sequence[int]) -> Replay | None:
    """All that is remembered of `tasks`, augmented, each task a block; None if that is nothing."""
    slots = [(memory.task[: memory.filled] == task).nonzero().flatten() for task in tasks]
    if not any(map(len, slots)):
        return None
    blocks, start = [], 0
    for task, own in zip(tasks, slots, strict=True):
        if len(own):
            blocks.append(Block(task, start, start + len(own)))
            start += len(own)
    index = torch.cat(slots).to(memory.x.device)
    logits = None if memory.logits is None else memory.logits[index]
    drawn = Drawn(memory.x[index], memory.y[index], logits, index)
    return _ready(drawn, tuple(blocks), learner, learner.preprocess(drawn.x, rng))


def _ready(drawn: Drawn, blocks: tuple[Block, ...], learner: Learner, x: Tensor) -> Replay:
    if len(blocks) == 1:
        target = learner.targets(drawn.y, blocks[0].task)
    else:
        target = torch.cat([learner.targets(drawn.y[b.start : b.stop], b.task) for b in blocks])
    classes = _classes(drawn.logits, blocks, learner)
    return Replay(x, drawn.x, drawn.y, target, drawn.index, drawn.logits, blocks, classes)


def _classes(logits: Tensor | None, blocks: Sequence[Block], learner: Learner) -> Tensor | None:
    head = learner.model.head
    assert head is not None
    if head.kind == "shared":
        return None
    outputs = [head.outputs(b.task) for b in blocks]
    width = max(map(len, outputs)) if logits is None else logits.shape[1]
    rows = torch.tensor([(*own, *[-1] * (width - len(own))) for own in outputs], device=learner.device)
    return torch.cat([row.expand(b.stop - b.start, -1) for row, b in zip(rows, blocks, strict=True)])


def forward(
    net: Net, x: Tensor, task: int, replays: Sequence[Replay], joint: bool | None = None
) -> tuple[Tensor, list[Tensor]]:
    """(logits of the batch (B, active outputs), logits of each draw (m, outputs)), all with the current weights.

    Rows of one task pass the network together, those of the batch and of all draws alike: where tasks share their
    weights that is one forward for everything. `joint=False` gives the batch and every draw forwards of their own,
    which differs only for networks that look at a batch as a whole (batch norm), and None (default) does so for
    those networks alone. Outputs that a row's task does not have are `ABSENT`.
    """
    if joint is None:
        joint = not mixes_samples(net.model)
    pieces = [(task, x)]
    for replay in replays:
        pieces += [(b.task, _rows(replay, b)) for b in replay.blocks]
    found = _together(net, pieces) if joint else [net(rows, owner) for owner, rows in pieces]
    logits, start = [], 1
    for replay in replays:
        stop = start + len(replay.blocks)
        logits.append(_joined(replay, found[start:stop]))
        start = stop
    return found[0], logits


def joint_logits(net: Net, x: Tensor, task: int, replay: Replay) -> Tensor:
    """(B + m, outputs) logits of the batch's rows and then the draw's: `forward(joint=True)` as one tensor."""
    if len(replay.blocks) == 1 and replay.blocks[0].task == task:
        return net(torch.cat([x, replay.x]), task)
    own, (replayed,) = forward(net, x, task, [replay], joint=True)
    width = max(own.shape[1], replayed.shape[1])
    return torch.cat([widened(own, width), widened(replayed, width)])


def logits(net: Callable[[Tensor, int], Tensor], replay: Replay) -> Tensor:
    """(m, outputs) logits of a draw, each block through its own task's weights; absent outputs are `ABSENT`."""
    return _joined(replay, [net(_rows(replay, b), b.task) for b in replay.blocks])


def squared_error(student: Tensor, replay: Replay) -> Tensor:
    """Mean over all rows and existing outputs of (student − remembered logits)²: DER's term, a scalar."""
    assert replay.logits is not None
    if replay.classes is None:
        return F.mse_loss(student, replay.logits)
    exists = replay.classes >= 0
    difference = torch.where(exists, student - replay.logits, 0)
    return difference.square().sum() / exists.sum()


def mixes_samples(model: nn.Module) -> bool:
    """Whether a sample's output depends on the others of its batch, now: batch norm in training mode."""
    return any(
        isinstance(m, _BatchNorm) and (m.training or not m.track_running_stats) for m in model.modules()
    )


def _together(net: Net, pieces: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
    """One forward per task over all its pieces (task, rows); the logits piece by piece."""
    groups: dict[int, list[int]] = {}
    for i, (task, _) in enumerate(pieces):
        groups.setdefault(task, []).append(i)
    found: dict[int, Tensor] = {}
    for task, members in groups.items():
        rows = [pieces[i][1] for i in members]
        both = net(rows[0] if len(rows) == 1 else torch.cat(rows), task)
        found.update(zip(members, both.split([len(r) for r in rows]), strict=True))
    return [found[i] for i in range(len(pieces))]


def _rows(replay: Replay, block: Block) -> Tensor:
    return replay.x if len(replay.blocks) == 1 else replay.x[block.start : block.stop]


def _joined(replay: Replay, parts: Sequence[Tensor]) -> Tensor:
    if replay.classes is None:
        return parts[0] if len(parts) == 1 else torch.cat(list(parts))
    return torch.cat([widened(part, replay.classes.shape[1]) for part in parts])


def widened(part: Tensor, width: int) -> Tensor:
    """Logits (m, outputs) as (m, width); outputs that are not there are `ABSENT`."""
    missing = width - part.shape[1]
    return F.pad(part, (0, missing), value=ABSENT) if missing else part
