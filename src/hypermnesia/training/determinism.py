"""How a run trains: its length, its precision, where its randomness comes from, and the settings of torch meanwhile."""

import contextlib
import ctypes
from collections.abc import Iterator

import torch

from hypermnesia.core.tensors import NamedTensors, Tensors

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


@contextlib.contextmanager
def settings(threads: int | None) -> Iterator[None]:
    """Deterministic algorithms and the run's thread count within the block; torch's former settings after it."""
    before, former, fill = torch.get_num_threads(), torch.get_deterministic_debug_mode(), _fill()
    keep_freed_memory()
    torch.use_deterministic_algorithms(True)
    _fill(
        False
    )  # filling fresh memory costs time; it guards against reading it unset, which nothing here does
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(former)
        _fill(fill)
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let this process keep the memory that its tensors have left; the next step needs it again.

    The C library (glibc; elsewhere nothing happens) would return larger blocks to the system, which hands them out
    anew page by page and filled with zeros: up to two thirds of the time of a step on large weights.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def noise(device: torch.device) -> Tensors:
    """States of torch's global generators, which dropout and the like draw from: by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_noise(states: NamedTensors, device: torch.device) -> None:
    """Bring the global generators to the states that `noise` gave."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def _fill(value: bool | None = None) -> bool:
    """Whether deterministic mode fills uninitialised memory; set to `value` if one is given."""
    options = torch.utils.deterministic
    if value is not None:
        options.fill_uninitialized_memory = value  # pyright: ignore[reportAttributeAccessIssue]
    return options.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
