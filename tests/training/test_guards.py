"""A run stops at the first number that is not finite."""

import pytest
import torch

from hypermnesia.core.errors import RunFailed
from hypermnesia.training.guards import check_loss, check_tensors


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss(value: float) -> None:
    terms = {"cross_entropy": torch.tensor(value), "drift": torch.tensor(0.123456)}
    text = f"the loss became {value} at step 3; its terms: cross_entropy={value}, drift=0.1235. A smaller"
    with pytest.raises(RunFailed, match=text):
        check_loss(torch.tensor(value), terms, lambda: "step 3")
    with pytest.raises(RunFailed, match="its terms: none"):
        check_loss(torch.tensor(value), {}, lambda: "step 3")
    check_loss(torch.tensor(1e30), terms, lambda: "step 3")


def test_tensors() -> None:
    fine = {"a": torch.zeros(2), "counts": torch.ones(2, dtype=torch.int64), "none": torch.zeros(0)}
    check_tensors("value", fine, "step 3")
    with pytest.raises(RunFailed, match="the value of b is not finite at step 3"):
        check_tensors("value", fine | {"b": torch.tensor([0.0, float("inf")])}, "step 3")
