import pytest
import torch

from hypermnesia.data import Part, permuted
from hypermnesia.data.sources.source import Images
from hypermnesia.data.stream import concatenate
from hypermnesia.data.transforms import Identity, Permutations

IMAGES = Images(torch.arange(5 * 4, dtype=torch.uint8).view(5, 1, 2, 2), torch.tensor([0, 1, 2, 1, 0]))
LABELS = torch.tensor([1, -1, 0])
PERMUTATIONS = Permutations.draw(3, 4, seed=0, first_permuted=True)


def part(index: list[int], code: int | torch.Tensor = 0) -> Part:
    return Part(IMAGES, torch.tensor(index), LABELS, PERMUTATIONS, code)


def test_batch_gathers_transforms_and_maps_labels():
    view = part([4, 0, 2], code=1)
    x, y = view.batch(torch.tensor([2, 0]))
    assert torch.equal(x, PERMUTATIONS(IMAGES.x[[2, 4]], 1))
    assert y.tolist() == [0, 1]
    assert (len(view), view.y.tolist(), view.ids.tolist(), view.classes) == (3, [1, 1, 0], [4, 0, 2], (0, 1))


def test_subset_of_a_subset_keeps_order_and_codes():
    view = part([4, 3, 2, 1, 0], torch.tensor([0, 1, 2, 0, 1])).subset(torch.tensor([3, 2, 0]))
    view = view.subset(torch.tensor([1, 0]))
    assert view.ids.tolist() == [2, 1]
    assert torch.equal(view.batch(torch.arange(2))[0], PERMUTATIONS(IMAGES.x[[2, 1]], torch.tensor([2, 0])))


def test_concatenated_parts_give_the_batches_of_their_pieces():
    first, second = part([0, 2], 0), part([2, 4, 0], torch.tensor([1, 2, 1]))
    both = concatenate([first, second])
    pieces = [p.batch(torch.arange(len(p))) for p in (first, second)]
    x, y = both.batch(torch.arange(5))
    assert torch.equal(x, torch.cat([piece[0] for piece in pieces]))
    assert torch.equal(y, torch.cat([piece[1] for piece in pieces]))


def test_concatenating_equal_codes_keeps_the_single_code():
    assert concatenate([part([0], 2), part([4], 2)]).code == 2


def test_parts_of_different_images_cannot_be_concatenated():
    other = Part(Images(IMAGES.x.clone(), IMAGES.y), torch.tensor([0]), LABELS, Identity())
    with pytest.raises(ValueError, match="different images or transforms"):
        concatenate([part([0]), other])


def test_a_hundred_tasks_hold_the_images_and_indices_of_one(make_source):
    stream = permuted(make_source(), tasks=100)
    first = stream.tasks[0]
    for task in stream.tasks:
        assert task.train.images is first.train.images
        assert task.train.index is first.train.index
        assert task.train.labels is first.test.labels
        assert task.train.transform is first.train.transform
        assert isinstance(task.train.code, int)


def test_to_moves_every_tensor():
    moved = part([0, 2], torch.tensor([0, 1])).to("meta")
    tensors = [moved.images.x, moved.images.y, moved.index, moved.labels, moved.code]
    assert all(isinstance(t, torch.Tensor) and t.is_meta for t in tensors)
