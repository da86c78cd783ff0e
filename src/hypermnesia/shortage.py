"""Memory that is not there is the user's to mend, whichever library asked for it."""

import contextlib
from collections.abc import Iterator

import torch

from hypermnesia.errors import HypermnesiaError

_SAID = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "out of memory")
"""What torch's errors say when an allocation fails; they have no type of their own on the CPU."""


@contextlib.contextmanager
def told(what: str, error: type[HypermnesiaError] = HypermnesiaError) -> Iterator[None]:
    """Raise `error`, which says that `what` needs more memory than there is, where an allocation within fails."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        if not _is_shortage(fault):
            raise
        # torch appends its stack to the first line of what happened
        reason = str(fault).partition("\n")[0] or "no memory is left"
        raise error(
            f"{what} needs more memory than there is ({reason}); smaller networks, batches, memories or images "
            "need less"
        ) from fault


def _is_shortage(fault: Exception) -> bool:
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(fault, kinds) or any(said in str(fault) for said in _SAID)
