"""The same bits on another processor: the libraries below torch are held to one set of instructions and one thread."""

import os

import torch

from hypermnesia.core.errors import HypermnesiaError, NeedsEnvironment
from hypermnesia.training.options import TrainOptions

PINNED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
"""Variables of the environment that torch's own kernels, oneDNN and MKL read when they are first used."""


def hold(train: TrainOptions, device: str | torch.device) -> None:
    """If a run is to be the same anywhere, torch computes on one thread from now on, since it splits sums by threads.

    Raises `NeedsEnvironment` where the variables are not set, and `HypermnesiaError` where they cannot be heeded.
    """
    if train.reproducible != "anywhere":
        return
    if any(os.environ.get(name) != value for name, value in PINNED.items()):
        raise NeedsEnvironment("train.reproducible=anywhere", PINNED)
    capability = torch.backends.cpu.get_cpu_capability()
    if torch.device(device).type != "cpu" or capability != "AVX2":
        where = (
            f"processors with AVX2, not on {capability}" if capability != "AVX2" else "the CPU (--device cpu)"
        )
        raise HypermnesiaError(f"train.reproducible=anywhere holds on {where}")
    torch.set_num_threads(1)
