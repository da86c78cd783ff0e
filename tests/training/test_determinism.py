"""Options of training, and torch's settings meanwhile."""

import os
from typing import Any

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.training.determinism import noise, set_noise
from hypermnesia.training.options import TrainOptions


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {},
            "give either train.iterations or train.epochs, not both and not neither; got iterations=None, epochs=None",
        ),
        ({"iterations": 1, "epochs": 1}, "not both and not neither; got iterations=1, epochs=1"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        TrainOptions(**options)


def test_sums_on_a_gpu_have_an_order_from_the_import_on() -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")


def test_noise_can_be_drawn_again() -> None:
    outside, cpu = torch.get_rng_state(), torch.device("cpu")
    try:
        state = noise(cpu)
        first = torch.rand(3)
        set_noise(state, cpu)
        assert torch.equal(torch.rand(3), first)
    finally:
        torch.set_rng_state(outside)
