"""Named random generators from one seed.

Every random number of a run comes from a generator made here and passed on, so two parts of a program
never share a sequence, and adding a part moves none of the others.
"""

import hashlib
import json
from operator import index

import torch


def derive(seed: int, *names: str | int) -> int:
    """A seed in [0, 2**63) for the part of a program that `names` describe: `derive(0, "stream", "order")`.

    Equal arguments give equal seeds on every machine and Python version; a name and a number never collide
    (`1` is not `"1"`), nor do different splits of the same text (`"ab", "c"` is not `"a", "bc"`).
    """
    path = json.dumps([index(seed), *names], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(path.encode("ascii")).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator seeded with `derive(seed, *names)`.

    Torch's CPU generator reads only the low 32 bits of a seed: among n generators about n² / 2³³ pairs
    are equal.
    """
    return torch.Generator(device="cpu").manual_seed(derive(seed, *names))


def some(count: int, most: int | None, rng: torch.Generator) -> list[int]:
    """0 to count − 1, or `most` of these at random, ascending; nothing is drawn where all are taken."""
    if most is None or count <= most:
        return list(range(count))
    return sorted(torch.randperm(count, generator=rng)[:most].tolist())
