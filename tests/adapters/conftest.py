"""What Lightning and Avalanche import and need not have here.

torchvision has a compiled part that does not load beside a CPU build of torch. Avalanche imports Weights & Biases for one of its
loggers, which no test uses.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
        LIBRARY.define(schema)
if find_spec("wandb") is None:
    sys.modules["wandb"] = ModuleType("wandb")


@pytest.fixture(autouse=True)
def seeded():
    """Networks that tests build start alike in every run."""
    torch.manual_seed(0)
