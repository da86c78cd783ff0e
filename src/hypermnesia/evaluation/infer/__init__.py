"""Guessing which task an input belongs to, for weights that differ from task to task."""

from hypermnesia.evaluation.infer.agreement import Agreement
from hypermnesia.evaluation.infer.base import (
    Inference,
    TaskScores,
    all_logits,
    check,
    chosen,
    entropy,
    nothing_to_infer,
)
from hypermnesia.evaluation.infer.entropy import Entropy
from hypermnesia.evaluation.infer.fecam import FeCAM
from hypermnesia.evaluation.infer.logit import Logit
from hypermnesia.evaluation.infer.prototype import Prototype
from hypermnesia.evaluation.infer.ridge import RidgeInference
from hypermnesia.evaluation.infer.tir import TIR

INFERENCES: dict[str, type] = {
    "entropy": Entropy,
    "fecam": FeCAM,
    "prototype": Prototype,
    "agreement": Agreement,
    "logit": Logit,
    "ridge": RidgeInference,
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
    "Logit",
    "Prototype",
    "RidgeInference",
    "TaskScores",
    "all_logits",
    "check",
    "chosen",
    "entropy",
    "nothing_to_infer",
]
