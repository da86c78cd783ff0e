"""Which seeds to run, as people write them: `0,1,2`, `0..4`, `0..2,7`."""

import re

from hypermnesia.errors import HypermnesiaError

MOST = 1000
"""Seeds of one command; more is taken for a slip."""
LARGEST = 2**63 - 1
_PART = re.compile(r"([0-9]{1,19})(?:\.\.([0-9]{1,19}))?")


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` names, in its order: numbers and inclusive ranges `FIRST..LAST`, separated by commas.

    Raises `HypermnesiaError` for anything else, for a range that runs backwards, for a seed named twice, and for more
    than `MOST` of them.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise _error(text, f"{part.strip()!r} is neither a number from 0 on nor a range")
        first, last = int(found[1]), int(found[2] or found[1])
        if last > LARGEST:
            raise _error(text, f"{last} is beyond 64 bits")
        if last < first:
            raise _error(text, f"the range {part.strip()} runs backwards")
        if last - first + len(seeds) >= MOST:
            raise _error(text, f"these are more than {MOST} seeds")
        seeds.extend(range(first, last + 1))
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise _error(text, f"seed {twice[0]} occurs twice")
    return tuple(seeds)


def _error(text: str, fault: str) -> HypermnesiaError:
    return HypermnesiaError(f"--seeds {text}: {fault}; write 0,1,2 or 0..4 (both ends included)")
