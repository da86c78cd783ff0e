"""The penalties of a configuration: those that weights bring along, and those that join any method."""

from collections.abc import Mapping
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.penalties.align import Align
from hypermnesia.methods.penalties.anchor import Anchor
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.penalties.ewc import EWC
from hypermnesia.methods.penalties.inflora import InfLoRA
from hypermnesia.methods.penalties.mas import MAS
from hypermnesia.methods.penalties.orthogonal import Orthogonal
from hypermnesia.methods.penalties.si import SI
from hypermnesia.methods.replay import generative

DRIFTS = {"drift": "main", "drift_vae": generative.MODEL}
"""The drift penalties by their sections: the model whose written weights each holds."""
PENALTIES = (*DRIFTS, "anchor")
JOINING: dict[str, type[Penalty]] = {
    "ewc": EWC,
    "mas": MAS,
    "si": SI,
    "orthogonal": Orthogonal,
    "inflora": InfLoRA,
    "align": Align,
}
"""Penalties that join any method once something is said of them, such as `er ewc.strength=100`."""


def brought(sections: Mapping[str, Any]) -> dict[str, Penalty]:
    """The penalties that the run's weights bring along, by their sections, with their defaults."""
    weights = sections["weights"]
    written = {*(["main"] if weights.drifts else []), *getattr(sections["method"], "written_models", ())}
    found: dict[str, Penalty] = {name: Drift(holds=held) for name, held in DRIFTS.items() if held in written}
    return found | {"anchor": Anchor()} if weights.masks else found


def left_out(penalty: str, value: Any) -> bool:
    """`drift=none` and the like leave a penalty out; nothing else can be said of the whole."""
    if value is not None:
        raise HypermnesiaError(
            f"{penalty}={value}: only none can be said of the whole penalty; its options are {penalty}.*"
        )
    return True
