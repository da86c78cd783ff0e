import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import count
from hypermnesia.nets import LeNetOptions


@pytest.mark.parametrize(("variant", "weights"), [("small", 21_840), ("large", 431_080)])
def test_published_sizes(variant, weights: int):
    assert count(LeNetOptions(variant=variant).build((1, 28, 28), 10).state_dict()) == weights


def test_smallest_images():
    net = LeNetOptions(variant="small").build((1, 16, 16), 2)
    assert net(torch.zeros(1, 1, 16, 16)).shape == (1, 2)
    for shape in ((1, 8, 8), (1, 15, 15), (1, 40, 15)):
        with pytest.raises(
            HypermnesiaError,
            match=rf"lenet takes no images of {shape[1]} x {shape[2]} pixels: the smallest are 16 x 16\.",
        ):
            LeNetOptions().build(shape, 2)


def test_bad_variant():
    with pytest.raises(HypermnesiaError, match=r"unknown net\.variant 'larg'; did you mean 'large'\?"):
        LeNetOptions(variant="larg")
