import re

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import from_tensors, joined, permuted


def tensors(n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.arange(n) % 2


def test_from_tensors_adds_a_channel_and_names_classes_by_number():
    x, y = tensors()
    source = from_tensors(x.squeeze(1), y.int(), x, y)
    assert source.shape == (1, 2, 2)
    assert source.class_names == ("0", "1")
    assert source.train.y.dtype == torch.int64


def test_tokens_are_a_source_but_cannot_be_permuted_as_images():
    tokens, y = torch.arange(12).view(4, 3), torch.arange(4) % 2
    source = from_tensors(tokens, y, tokens, y)
    assert source.shape == (3,)
    with pytest.raises(HypermnesiaError, match=re.escape("permuted needs images (N, C, H, W)")):
        permuted(source, tasks=2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"train_x": torch.zeros(4, 1, 2, 2)}, "pass (x * 255).round().to(torch.uint8)"),
        ({"train_x": torch.full((4, 1, 2, 2), 200.0)}, "in 0..255 pass x.round().to(torch.uint8)"),
        ({"train_y": torch.zeros(4)}, "labels are torch.float32, expected integers"),
        ({"train_y": torch.tensor([0, 1])}, "4 samples with labels torch.int64 (2,), expected int64 (4,)"),
        (
            {"train_y": torch.tensor([0, 1, -1, 0])},
            "train: label -1 does not fit the 2 classes, expected 0..1",
        ),
        ({"test_y": torch.tensor([0, 0, 0, 0])}, "test: no sample of class '1'"),
        ({"test_x": torch.zeros(4, 1, 3, 3, dtype=torch.uint8)}, "expected one shape and dtype"),
        (dict(zip(("train_x", "train_y"), tensors(0), strict=True)), "train: there are no samples"),
        ({"train_y": torch.zeros(4).long(), "test_y": torch.zeros(4).long()}, "has one class only (0)"),
    ],
)
def test_bad_tensors(change: dict[str, torch.Tensor], text: str):
    x, y = tensors()
    good = {"train_x": x, "train_y": y, "test_x": x, "test_y": y}
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        from_tensors(**(good | change))


def test_sha256_covers_samples_labels_and_names(make_source):
    x, y = tensors()
    base = from_tensors(x, y, x, y)
    other_x = x.clone()
    other_x[3, 0, 1, 1] = 1
    changed = [
        from_tensors(other_x, y, x, y),
        from_tensors(x, y, other_x, y),
        from_tensors(x, 1 - y, x, y),
        from_tensors(x, y, x, y, class_names=["a", "b"]),
    ]
    assert from_tensors(x, y, x, y, name="elsewhere").sha256 == base.sha256
    assert len({source.sha256 for source in [base, *changed]}) == 5


def test_joined_sources_number_their_classes_one_after_the_other(make_source):
    first, second = make_source(classes=2, per_class=3), make_source(classes=3, per_class=2)
    both = joined([first, second])
    assert both.class_names == first.class_names + second.class_names
    assert both.train.y.tolist() == [*first.train.y.tolist(), *(second.train.y + 2).tolist()]
    assert torch.equal(both.test.x, torch.cat([first.test.x, second.test.x]))


def test_joined_sources_need_one_shape(make_source):
    with pytest.raises(HypermnesiaError, match="set stream.size"):
        joined([make_source(side=8), make_source(side=6)])
