"""How well numbers are told: R² and the mean absolute error."""

from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation.infer import INFERENCES, Entropy
from hypermnesia.methods.learner import Learner


def check_inference(learner: Learner) -> None:
    """Raise `HypermnesiaError` for a way to infer the task where numbers are told: all of them go by classes."""
    if learner.target is not None and learner.inference not in (None, Entropy()):
        kind = type(learner.inference)
        name = {known: name for name, known in INFERENCES.items()}.get(kind, kind.__name__)
        raise HypermnesiaError(
            f"infer={name} infers the task by classes, and the targets of this stream are "
            "numbers (task=regression): leave infer out, and the task is given"
        )


def r_squared(told: Tensor, y: Tensor) -> float | None:
    """1 − Σ (y − told)² / Σ (y − mean of y)², of (N,) numbers: 1 at best, 0 for telling the mean, negative below that. None where
    all y are equal."""
    told, y = told.double(), y.double()
    around = (y - y.mean()).square().sum() if len(y) else y.sum()
    return float(1 - (y - told).square().sum() / around) if around > 0 else None


def mean_absolute_error(told: Tensor, y: Tensor) -> float | None:
    """Σ |y − told| / N, of (N,) numbers."""
    return float((y.double() - told.double()).abs().mean()) if len(y) else None
