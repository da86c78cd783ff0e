"""How a run trains: its length, its precision, where its randomness comes from, and the settings of torch meanwhile."""

import contextlib
import ctypes
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from hypermnesia.errors import HypermnesiaError
from hypermnesia.tensors import NamedTensors, Tensors

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
MOST_SAMPLES = 1_000_000
"""Of one step: a larger batch is a slip of the keyboard, and would be gathered for hours."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How long and in which precision a task is trained."""

    iterations: int | None = None
    """Optimizer steps per task: batches are always full and may straddle two epochs."""
    epochs: float | None = None
    """Passes over a task's samples instead of `iterations`; the last batch of a pass holds what is left."""
    batch_size: int = 32
    """Samples of the stream per step, ≥ 1."""
    clip: float | None = None
    """Largest norm of the whole gradient; longer ones are scaled down. none = never."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 computes matrix products and convolutions in bfloat16 (parameters stay float32)."""
    channels_last: bool = False
    """Memory layout of images and convolution weights; pays with convolutional targets, changes only rounding."""
    compile: bool = False
    """Whether loss and gradient run as one compiled graph, after some seconds' wait for each task: small steps take a third
    to two thirds of the time. The network's own Python runs once for each form of a batch. Results differ by rounding."""
    threads: int | None = None
    """CPU threads; none = torch's own choice. Bit-equal results need the same number."""
    check: Literal["loss", "all"] = "loss"
    """loss stops the run at the first loss that is not finite; all looks at every gradient too and names it."""

    def __post_init__(self) -> None:
        if (self.iterations is None) == (self.epochs is None):
            raise HypermnesiaError(
                f"give either train.iterations or train.epochs, not both and not neither; "
                f"got iterations={self.iterations}, epochs={self.epochs}"
            )
        for name in ("iterations", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HypermnesiaError(f"train.{name}={value} must be at least 1")
        if self.batch_size > MOST_SAMPLES:
            raise HypermnesiaError(
                f"train.batch_size={self.batch_size} must be at most {MOST_SAMPLES}: no step takes more samples"
            )
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise HypermnesiaError(f"train.epochs={self.epochs} must be above 0")
        if self.clip is not None and not self.clip > 0:
            raise HypermnesiaError(f"train.clip={self.clip} must be above 0")


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What randomness comes from; one number sets all, each can be set alone."""

    init: int = 0
    """Initial parameters and embeddings."""
    order: int = 0
    """Order of the samples and their augmentation."""
    method: int = 0
    """The method's own draws (memories, task subsets), and noise such as dropout."""


@contextlib.contextmanager
def settings(threads: int | None, device: torch.device) -> Iterator[None]:
    """Deterministic algorithms and the run's thread count within the block; torch's former settings after it."""
    before, former, fill = torch.get_num_threads(), torch.get_deterministic_debug_mode(), _fill()
    if device.type == "cuda":  # cuBLAS reads it when it starts, and is not repeatable without
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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
