"""MNIST-360 (Buzzega et al. 2020, arXiv:2004.07211): digits that turn as they follow one another."""

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.build import Cut, build, rows, tested_by_class
from hypermnesia.data.options import Interpolation
from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.sources.source import Source, require_images
from hypermnesia.data.stream import Stream
from hypermnesia.data.transforms import Rotations

DIGITS = 9
"""6 and 9 cannot be told apart once they turn, so 9 is left out."""
ROUNDS = 3


def mnist360(
    source: Source,
    *,
    interpolation: Interpolation = "nearest",
    seed: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "mnist-360",
) -> Stream:
    """Pairs of digits (0, 1), (1, 2), ... (8, 0), three rounds of them, each image once and in a fixed order.

    The images of digit d, shuffled, turn steadily through 360 degrees from (d − 1)·60 degrees on. They are
    cut into six chunks of almost equal size, two in each round; a pair interleaves a chunk of each of its
    digits so that both end together. The 27 pairs are the stream's tasks, but `boundaries` is False: a learner
    may not use them. Tests: one for each digit, over a full turn. `interpolation`: nearest as published, or
    bilinear, which is smoother and scores higher.

    Differences from the published loader: (1) It draws each sample of a chunk anew, with replacement, so that
    more than a third of the images is never seen; the angle goes on with every draw. (2) A pair ends with the first of its
    two chunks, and the rest of the other is dropped. (3) Its test angles begin at 0 for every digit, a shift
    within the full turn. (4) Its network has ten outputs, of which one is never right; ours has nine. (5) It
    counts right answers over all samples (micro); ours is the mean over the nine digits, of 892 to 1,135 test
    images each.
    """
    require_images(source, name)
    if len(source.class_names) < DIGITS:
        raise HypermnesiaError(
            f"{name} needs the digits 0 to {DIGITS - 1}; {source.name} has {len(source.class_names)} classes"
        )
    smallest = int(torch.bincount(source.train.y)[:DIGITS].min())
    if smallest < 2 * ROUNDS:
        raise HypermnesiaError(
            f"{name} shows each digit {2 * ROUNDS} times; {source.name} has {smallest} training images of one"
        )
    turns = [
        _turn(part, generator(seed, "mnist-360", i)) for i, part in enumerate((source.train.y, source.test.y))
    ]
    chunks = [list(order.tensor_split(2 * ROUNDS)) for order, _ in turns[0]]
    train_codes, train_degrees = _codes(len(source.train), turns[0], 0)
    test_codes, test_degrees = _codes(len(source.test), turns[1], len(train_degrees))
    cuts = []
    for turn in range(ROUNDS):
        for first in range(DIGITS):
            pair = (first, (first + 1) % DIGITS)
            train = _interleave(chunks[pair[0]].pop(0), chunks[pair[1]].pop(0))
            test = rows(source.test.y, pair)
            title = f"{pair[0]} and {pair[1]}, round {turn + 1}"
            cuts.append(Cut(title, pair, train, test, train_codes[train], test_codes[test]))
    stream = build(
        name,
        source,
        cuts,
        transform=Rotations(torch.cat([train_degrees, test_degrees]), interpolation),
        preprocess=preprocess,
        boundaries=False,
        ordered=True,
    )
    return tested_by_class(stream, source, test_codes)


def _turn(y: Tensor, rng: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """For each digit its rows in random order, int64 (n,), and the angle of each in degrees, float64 (n,)."""
    turns = []
    for digit in range(DIGITS):
        members = rows(y, [digit])
        members = members[torch.randperm(len(members), generator=rng)]
        steps = torch.arange(len(members), dtype=torch.float64) / len(members)
        turns.append((members, (digit - 1) * 60 + 360 * steps))
    return turns


def _codes(samples: int, turns: list[tuple[Tensor, Tensor]], offset: int) -> tuple[Tensor, Tensor]:
    """For each of `samples` rows its entry in the table of all angles, from `offset` on, and that table."""
    order = torch.cat([members for members, _ in turns])
    codes = torch.zeros(samples, dtype=torch.int64)
    codes[order] = offset + torch.arange(len(order))
    return codes, torch.cat([degrees for _, degrees in turns])


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    """Both sequences in one, each in its own order and spread evenly over the whole."""
    places = [(torch.arange(len(part), dtype=torch.float64) + 0.5) / len(part) for part in (first, second)]
    return torch.cat([first, second])[torch.cat(places).argsort(stable=True)]
