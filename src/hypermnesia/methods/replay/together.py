"""Rehearsal of several runs that take their steps together: what each draws, gathered and prepared as one."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from hypermnesia.methods.learner import Learner
from hypermnesia.methods.replay.buffer import Drawn, Memory
from hypermnesia.methods.replay.rehearsal import Block, MemoryOptions, Replay


def rehearse(
    memories: Sequence[Memory],
    learners: Sequence[Learner],
    options: MemoryOptions,
    rngs: Sequence[torch.Generator],
) -> tuple[Replay, list[Replay]] | None:
    """As `rehearsal.rehearse` from each memory for its own learner, to the bit: (all draws as one (runs, m, …), each run's).

    None, before anything is drawn, where each has to draw by itself: memories that hold different numbers of samples, weights
    that depend on the task, augmentation.
    """
    first, learner = memories[0], learners[0]
    if (
        learner.model.depends_on_task
        or learner.preprocess.draws
        or first.filled == 0
        or any(m.filled != first.filled for m in memories)
    ):
        return None
    drawn = draw(memories, options.batch_size, rngs)
    x = learner.preprocess(drawn.x.flatten(0, 1)).view(drawn.x.shape)
    blocks = (Block(learner.task, 0, drawn.y.shape[1]),)
    each = zip(*(v.unbind() for v in (x, drawn.x, drawn.y, drawn.index)), strict=True)
    logits = (None,) * len(memories) if drawn.logits is None else drawn.logits.unbind()
    own = [Replay(x, raw, y, y, i, z, blocks) for (x, raw, y, i), z in zip(each, logits, strict=True)]
    return Replay(x, drawn.x, drawn.y, drawn.y, drawn.index, drawn.logits, blocks), own


def draw(memories: Sequence[Memory], count: int, rngs: Sequence[torch.Generator]) -> Drawn:
    """As `buffer.draw` from each of several memories that hold equally many samples, to the bit, the memories as a first axis.

    Their samples lie side by side from then on: each memory's tensors are views of one that holds all.
    """
    slots = torch.stack(
        [torch.randperm(m.filled, generator=rng)[:count] for m, rng in zip(memories, rngs, strict=True)]
    )
    index = slots.to(memories[0].x.device, non_blocking=True)
    places = (index + _starts(len(memories), memories[0].capacity, index.device)).flatten()

    def gathered(name: str) -> Tensor:
        whole = _side_by_side(memories, name)
        return whole.flatten(0, 1).index_select(0, places).view(*slots.shape, *whole.shape[2:])

    logits = None if memories[0].logits is None else gathered("logits")
    return Drawn(gathered("x"), gathered("y"), logits, index)


@lru_cache(maxsize=8)
def _starts(count: int, size: int, device: torch.device) -> Tensor:
    return (torch.arange(count, device=device) * size).view(-1, 1)


def _side_by_side(memories: Sequence[Memory], name: str) -> Tensor:
    own: list[Tensor] = [getattr(memory, name) for memory in memories]
    whole = own[0]._base
    step = own[0].numel()
    if whole is None or any(
        v._base is not whole or v.storage_offset() != i * step for i, v in enumerate(own)
    ):
        whole = torch.stack(own)
        for memory, view in zip(memories, whole.unbind(), strict=True):
            setattr(memory, name, view)
    return whole
