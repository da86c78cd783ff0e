import torch
from torch.nn import functional as F

from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.initial import plain
from hypermnesia.weights.hypernets.layers import Layer, OutputMap, TaskRows, Trunk


def test_parts_stand_for_their_concatenation():
    rng = rng_of(0, "parts")
    chunks, task = torch.randn(1, 7, 3, generator=rng), torch.randn(4, 1, 2, generator=rng)
    joined = torch.cat([chunks.expand(4, 7, 3), task.expand(4, 7, 2)], dim=-1)
    for hidden in ((6, 5), ()):
        trunk = Trunk(5, hidden, "tanh")
        plain(trunk, rng)
        torch.testing.assert_close(trunk(chunks, task), trunk(joined))
        torch.testing.assert_close(trunk(chunks[..., :0], joined), trunk(joined))


def test_trunk_is_a_stack_of_layers():
    trunk = Trunk(3, (4, 5), "elu", bias=False)
    plain(trunk, rng_of(0))
    x = torch.randn(2, 3, generator=rng_of(1))
    first, second = trunk.layers
    assert isinstance(first, Layer) and isinstance(second, Layer) and first.bias is None
    torch.testing.assert_close(trunk(x), F.elu(F.elu(x @ first.weight.T) @ second.weight.T))
    assert trunk.width == 5


def test_last_column_of_an_output_map_is_its_bias():
    out = OutputMap(3, 4)
    plain(out, rng_of(0))
    x = torch.randn(2, 5, 3, generator=rng_of(1))
    torch.testing.assert_close(out(x), F.linear(x, out.weight[:, :3], out.weight[:, 3]))
    without = OutputMap(3, 4, bias=False)
    assert without.weight.shape == (4, 3) and without.homogeneous(x) is x


def test_task_rows_have_their_spread():
    rows = TaskRows((2, 3000), torch.tensor([[0.1], [2.0]]))
    rows.grow(rng_of(0), "random", like=torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(rows.pick([0])[0].std(1), torch.tensor([0.1, 2.0]).double(), rtol=0.05, atol=0)
