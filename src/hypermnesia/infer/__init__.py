"""Guessing which task an input belongs to, for weights that differ from task to task."""

from hypermnesia.infer.agreement import Agreement
from hypermnesia.infer.entropy import Entropy
from hypermnesia.infer.fecam import FeCAM
from hypermnesia.infer.protocol import (
    Inference,
    TaskScores,
    all_logits,
    check,
    chosen,
    entropy,
    nothing_to_infer,
)
from hypermnesia.infer.prototype import Prototype
from hypermnesia.infer.tir import TIR

INFERENCES: dict[str, type] = {
    "entropy": Entropy,
    "fecam": FeCAM,
    "prototype": Prototype,
    "agreement": Agreement,
    "tir": TIR,
}
"""Every way to infer the task, by its name on the command line: a dataclass of its options."""

__all__ = [
    "INFERENCES",
    "TIR",
    "Agreement",
    "Entropy",
    "FeCAM",
    "Inference",
    "Prototype",
    "TaskScores",
    "all_logits",
    "check",
    "chosen",
    "entropy",
    "nothing_to_infer",
]
