"""Per-layer heads against a loop over channels, and the sizes of partial hypernetworks on ResNet-18."""

import pytest
import torch
from torch.nn import functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.per_layer import Heads, HeadsOptions, split_vectors


def test_equals_a_loop_over_channels(cases):
    generator = cases["heads"].build()
    for task in range(3):
        u = generator.embeddings[task]
        for layer in generator.trunk.layers:
            u = F.relu(F.linear(u, layer.weight, layer.bias))
        written = generator([task])
        for (name, shape), head in zip(generator.shapes.items(), generator.heads, strict=True):
            a, bias = head.out.weight[:, :-1], head.out.weight[:, -1]
            if len(shape) == 2:
                expected = (a @ u + bias).reshape(shape)
            else:
                filters = [a @ torch.cat([channel, u]) + bias for channel in head.channels.weight]
                expected = torch.stack([row.reshape(shape[1:]) for row in filters])
            torch.testing.assert_close(written[name][0], expected, msg=name)


def slim_resnet18(classes: int, cut: int) -> tuple[dict[str, torch.Size], int]:
    """Tensors after residual block `cut` (0: all) of a ResNet-18 of 20 channels; how many numbers before."""
    stages: list[list[tuple[str, tuple[int, ...]]]] = [[("conv1", (20, 3, 3, 3)), ("bn1", (20,))]]
    before = 20
    for layer, width in enumerate((20, 40, 80, 160), start=1):
        stages.append([])
        for block in range(2):
            path = f"layer{layer}.{block}"
            stages[-1] += [(f"{path}.conv1", (width, before, 3, 3)), (f"{path}.bn1", (width,))]
            stages[-1] += [(f"{path}.conv2", (width, width, 3, 3)), (f"{path}.bn2", (width,))]
            if before != width:
                stages[-1] += [(f"{path}.short", (width, before, 1, 1)), (f"{path}.bn3", (width,))]
            before = width
    stages.append([("head", (classes, 160))])
    shapes: dict[str, torch.Size] = {}
    shared = 0
    for number, stage in enumerate(stages):
        for name, shape in stage:
            both = {f"{name}.weight": torch.Size(shape)}
            if len(shape) != 4:
                both[f"{name}.bias"] = torch.Size(shape[:1])
            if cut and number <= cut:
                shared += sum(value.numel() for value in both.values())
            else:
                shapes |= both
    return shapes, shared


PUBLISHED = {  # (tasks, classes) → parameters of HN-F, HN-1 … HN-4
    (20, 5): (769_377, 713_622, 616_022, 420_822, 30_422),
    (20, 10): (795_877, 740_122, 642_522, 447_322, 56_922),
    (4, 5): (720_785, 668_230, 577_030, 394_630, 29_830),
    (20, 100): (1_272_877, 1_217_122, 1_119_522, 924_322, 533_922),
}


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize(("tasks", "classes"), PUBLISHED)
def test_sizes_of_partial_hypernetworks(tasks, classes, cut):
    """Heads, trunk and embeddings, plus a row per task for every tensor that the heads do not write."""
    shapes, shared = slim_resnet18(classes, cut)
    written, stored = split_vectors(shapes)
    with torch.device("meta"):
        generator = Heads(HeadsOptions(), written)
    for _ in range(tasks):
        generator.grow(rng_of(0))
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    rows = tasks * sum(shape.numel() for shape in stored.values())
    assert parameters + rows == PUBLISHED[tasks, classes][cut]
    assert len(shapes) == (62, 47, 32, 17, 2)[cut]
    assert shared == (0, 15_140, 66_740, 272_340, 1_093_140)[cut]


def test_where_the_parameters_are():
    written, stored = split_vectors(slim_resnet18(5, 0)[0])
    with torch.device("meta"):
        generator = Heads(HeadsOptions(), written)
    sizes = [sum(parameter.numel() for parameter in head.parameters()) for head in generator.heads]
    assert (sum(sizes[:-1]), sizes[-1]) == (678_955, 26_400)
    assert sum(parameter.numel() for parameter in generator.trunk.parameters()) == 3_282
    assert sum(shape.numel() for shape in stored.values()) == 3_005
    assert max(sizes) == 98_720


def test_vectors_are_refused():
    shapes = {"a.weight": torch.Size((2, 3)), "a.bias": torch.Size((2,))}
    with pytest.raises(HypermnesiaError, match="not the vectors a.bias: store those per task"):
        HeadsOptions().build(shapes, rng_of(0))
    assert split_vectors(shapes) == ({"a.weight": (2, 3)}, {"a.bias": (2,)})


def test_generated_filters_start_alike_in_every_layer():
    """As published: a standard deviation of about 0.41 whatever the layer (hidden by its normalisation)."""
    rng = rng_of(0)
    generator = HeadsOptions().build(split_vectors(slim_resnet18(5, 0)[0])[0], rng)
    for _ in range(5):
        generator.grow(rng)
    written = generator(range(5))
    spreads = torch.stack([value.std() for value in written.values() if value.ndim == 5])
    torch.testing.assert_close(spreads, torch.full_like(spreads, 0.41), atol=0.06, rtol=0)
