"""LARS, loss-aware reservoir sampling: what the network answers well makes room (Buzzega, Boschini, Porrello & Calderara 2020,
arXiv:2010.05595).
"""

from bisect import bisect_left
from itertools import accumulate

import torch
from torch import Tensor

from hypermnesia.methods.learner import Batch
from hypermnesia.methods.replay import buffer
from hypermnesia.methods.replay.buffer import Memory


def remember(
    memory: Memory,
    batch: Batch,
    losses: Tensor,
    slots: Tensor | None,
    rehearsed: Tensor,
    rng: torch.Generator,
) -> Memory:
    """Offer a batch with its losses (B,) to a memory of policy lars, after the slots (m,) of a draw, if there was one, got
    theirs, `rehearsed` (m,).

    A sample is let in as by a reservoir. It then takes the place of slot i with a probability in proportion to
    (largest loss − loss of i), each loss the latest that is known.
    """
    if slots is not None:
        memory.keys[slots.cpu()] = rehearsed.double().cpu()
    chances = torch.rand(2, len(batch.y), dtype=torch.float64, generator=rng)
    places = chosen(memory, losses.tolist(), chances.T.tolist())
    return buffer.store(memory, places, batch.raw, batch.y, batch.task, None, losses.double().cpu())


def chosen(memory: Memory, losses: list[float], chances: list[list[float]]) -> buffer.Places:
    """Slots and rows of those of a batch that enter, one after the other."""
    held, entered = memory.keys[: memory.filled].tolist(), {}
    for row, (loss, (enters, which)) in enumerate(zip(losses, chances, strict=True)):
        slot = len(held)
        if slot == memory.capacity:
            if int(enters * (memory.seen + row + 1)) >= memory.capacity:
                continue
            most = max(held)
            sums = list(accumulate(most - other for other in held))
            even = int(which * len(held))  # where all losses are equal
            slot = min(bisect_left(sums, which * sums[-1]), len(held) - 1) if sums[-1] > 0 else even
            held[slot] = loss
        else:
            held.append(loss)
        entered[slot] = row
    return list(entered), list(entered.values())
