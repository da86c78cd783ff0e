"""Factors against what they stand for, written out."""

import torch

from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.factors import LinearFactor, OuterFactor, assemble


def test_linear_factor_fills_its_tensors_row_by_row():
    """2 rows of 4 results per task; the last 2 of the 8 are surplus."""
    rng = rng_of(0)
    z, weight = torch.randn(3, 2, 5, generator=rng), torch.randn(4, 5, generator=rng)
    shapes = {"a": torch.Size((3, 1)), "b": torch.Size(()), "c": torch.Size((2,))}
    found = assemble([LinearFactor(z, weight, shapes)])
    assert {name: value.shape for name, value in found.items()} == {"a": (3, 3, 1), "b": (3,), "c": (3, 2)}
    for task in range(3):
        results = [weight[m] @ z[task, r] for r in range(2) for m in range(4)]
        torch.testing.assert_close(found["a"][task, :, 0], torch.stack(results[:3]))
        torch.testing.assert_close(found["b"][task], results[3])
        torch.testing.assert_close(found["c"][task], torch.stack(results[4:6]))


def test_shared_inputs_stand_before_each_tasks_own():
    rng = rng_of(0)
    z, shared = torch.randn(3, 1, 2, generator=rng), torch.randn(4, 5, generator=rng)
    weight, shapes = torch.randn(6, 7, generator=rng), {"all": torch.Size((4, 6))}
    joined = torch.cat([shared.expand(3, 4, 5), z.expand(3, 4, 2)], dim=2)
    short, long = LinearFactor(z, weight, shapes, shared), LinearFactor(joined, weight, shapes)
    assert (short.rows, short.outputs) == (long.rows, long.outputs) == (4, 6)
    torch.testing.assert_close(short.results(), long.results())


def test_outer_factor_is_a_sum_of_outer_products():
    rng = rng_of(0)
    u, v = torch.randn(2, 3, 4, 2, generator=rng), torch.randn(2, 3, 6, 2, generator=rng)
    shapes = {"a": torch.Size((4, 6)), "b": torch.Size((4, 2, 3)), "c": torch.Size((4, 6))}
    found = assemble([OuterFactor(u, v, shapes)])
    for i, (name, shape) in enumerate(shapes.items()):
        for task in range(2):
            expected = sum(torch.outer(u[task, i, :, r], v[task, i, :, r]) for r in range(2))
            torch.testing.assert_close(found[name][task], expected.reshape(shape))
