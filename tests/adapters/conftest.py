"""What Lightning and Avalanche import: torchvision, whose compiled part does not load beside a CPU build of torch."""

import pytest
import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
        LIBRARY.define(schema)


@pytest.fixture(autouse=True)
def seeded():
    """Networks that tests build start alike in every run."""
    torch.manual_seed(0)
