"""Structured and deconvolutional generators, each against its formula worked out piece by piece."""

import pytest
import torch
import torch.nn.functional as F

from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.structured import StructuredOptions


@pytest.mark.parametrize("unit", ["tensor", "filter"])
def test_each_piece_is_its_template_at_its_own_vector(cases, unit):
    generator = cases[f"structured, by {unit}"].build()
    for task in range(3):
        written = generator([task])
        for template, group in zip(generator.per_group(), generator.groups, strict=True):
            layer, pieces = template.trunk.layers[0], []
            for vector in template.pieces.weight:
                z = F.elu(F.linear(torch.cat([vector, generator.embeddings[task]]), layer.weight, layer.bias))
                pieces.append(template.out(z))
            flat = torch.cat(pieces)
            assert len(flat) == sum(shape.numel() for shape in group.values())  # no surplus
            for name, part in zip(group, flat.split([s.numel() for s in group.values()]), strict=True):
                torch.testing.assert_close(written[name][0], part.reshape(group[name]))


def test_which_tensors_share_a_template(cases):
    def groups(unit: str, **shapes: tuple[int, ...]) -> list[list[str]]:
        options = StructuredOptions(unit=unit)  # pyright: ignore[reportArgumentType]
        built = options.build({n: torch.Size(s) for n, s in shapes.items()}, rng_of(0))
        return [list(group) for group in built.groups]

    layers = {"a": (4, 2, 3, 3), "b": (8, 2, 3, 3), "c": (4, 2, 3, 3), "d": (4,), "e": (9, 4), "f": (4,)}
    assert groups("tensor", **layers) == [["a", "c"], ["b"], ["d", "f"], ["e"]]
    assert groups("filter", **layers) == [["a", "b", "c"], ["d", "f"], ["e"]]


def test_a_structured_generator_compresses_a_residual_network():
    """Nine layers of one shape cost one template and nine vectors."""
    shapes = {f"layer{i}": torch.Size((16, 16, 3, 3)) for i in range(9)}
    built = StructuredOptions(unit="filter", hidden=(8,)).build(shapes, rng_of(0))
    assert sum(p.numel() for p in built.parameters()) < 0.2 * sum(s.numel() for s in shapes.values())
