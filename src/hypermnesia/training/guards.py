"""What stops a run with a word: numbers that are not finite, memory and devices that are not there, too small batches."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.weights.model import Model

ADVICE = "A smaller optimizer.lr or train.clip=1 often helps"


def fresh(models: dict[str, Model]) -> dict[str, Model]:
    """The models, by name. Raises `HypermnesiaError` where one has tasks already: it would train the last one's rows."""
    if had := max((model.num_tasks for model in models.values()), default=0):
        raise HypermnesiaError(
            f"Fit: this model has {had} task{'s' * (had > 1)} already, of an earlier run: make a fresh one for each run, "
            "model_for(stream, net); what a run has learned goes on with result.learn(…)"
        )
    return models


def check_loss(loss: Tensor, terms: Mapping[str, Tensor], when: Callable[[], str]) -> None:
    """Raise `RunFailed` unless the loss, a scalar, is finite; the text names its terms."""
    value = float(loss)
    if not math.isfinite(value):
        listed = ", ".join(f"{name}={float(term):.4g}" for name, term in terms.items()) or "none"
        raise RunFailed(f"the loss became {value} at {when()}; its terms: {listed}. {ADVICE}")


def check_tensors(what: str, found: Mapping[str, Tensor], when: str) -> None:
    """Raise `RunFailed` unless all numbers are finite; the text says which tensor has others."""
    for name, value in found.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RunFailed(f"the {what} of {name} is not finite at {when}. {ADVICE}")


_SAID = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "out of memory")
"""What torch's errors say when an allocation fails; they have no type of their own on the CPU."""


_ONE_VALUE = "Expected more than 1 value per channel"
"""What torch's batch norm says of a batch of one sample."""


@contextlib.contextmanager
def told(what: str, error: type[HypermnesiaError] = HypermnesiaError) -> Iterator[None]:
    """Raise `error`, which says that `what` needs more memory than there is, where an allocation within fails; and what to
    do where a batch norm is given one sample."""
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
    except ValueError as fault:
        if _ONE_VALUE not in str(fault):
            raise
        raise error(
            f"{what} gave a batch norm a single sample, which has no statistics; the last batch of an epoch may be one. Write "
            "train.iterations=… in place of train.epochs (then all batches are full), another train.batch_size, or take a "
            "network with another norm (net.norm=group)"
        ) from fault


def _is_shortage(fault: Exception) -> bool:
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(fault, kinds) or any(said in str(fault) for said in _SAID)


def device_named(name: str | torch.device) -> torch.device:
    """The device of that name; raises `HypermnesiaError` for one that torch does not know, or does not see here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise HypermnesiaError(f"device={name!r}: expected cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise HypermnesiaError(
            f"device={str(name)!r}: torch sees no CUDA device here; leave device out to use the CPU"
        )
    return device
