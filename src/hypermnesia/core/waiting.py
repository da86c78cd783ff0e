"""What long work that is no training tells of itself, so that nobody waits in silence: decoding, features, evaluations.

Work counts aloud; who listens, if anybody, decides what is shown.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Tell = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is; the last two are equal at its end."""

_tell: list[Tell] = []


@contextmanager
def told(tell: Tell) -> Iterator[None]:
    """Within the block, work counts to `tell` and to nobody else."""
    _tell.append(tell)
    try:
        yield
    finally:
        _tell.remove(tell)


def counted(items: Collection[T], what: str) -> Iterator[T]:
    """`items`, counted aloud."""
    total = len(items)
    for i, item in enumerate(items):
        if _tell:
            _tell[-1](what, i, total)
        yield item
    if _tell:
        _tell[-1](what, total, total)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """The block is one piece of work that cannot be counted."""
    listening = _tell[-1:]
    for tell in listening:
        tell(what, 0, 1)
    try:
        yield
    finally:
        for tell in listening:
            tell(what, 1, 1)
