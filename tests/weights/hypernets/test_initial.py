"""Hyperfan starts: the variance of what is generated, against Kaiming's and Xavier's."""

from math import sqrt

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.base import Generator
from hypermnesia.weights.hypernets.chunked import ChunkedOptions
from hypermnesia.weights.hypernets.dense import Dense, DenseOptions
from hypermnesia.weights.hypernets.initial import Fan, fans, target_variance, xavier
from hypermnesia.weights.hypernets.lowrank import LowRankOptions
from hypermnesia.weights.hypernets.per_layer import HeadsOptions

CONV, LINEAR = torch.Size((30, 20, 3, 3)), torch.Size((80, 50))


def spread(generator: Generator, tasks: int = 40) -> dict[str, float]:
    """Variance of what is generated, over entries and tasks."""
    rng = rng_of(1, "tasks")
    for _ in range(tasks):
        generator.grow(rng)
    with torch.no_grad():
        return {name: float(value.square().mean()) for name, value in generator(range(tasks)).items()}


def test_roles_of_tensors():
    shapes = {
        "c.weight": CONV,
        "n.weight": CONV[:1],
        "n.bias": CONV[:1],
        "l.weight": LINEAR,
        "l.bias": LINEAR[:1],
    }
    assert fans(shapes, scales=["n.weight"], shifts=["n.bias"]) == {
        "c.weight": Fan("weight", 180, 270),
        "n.weight": Fan("scale"),
        "n.bias": Fan("shift"),
        "l.weight": Fan("weight", 50, 80, biased=True),
        "l.bias": Fan("bias", 50, 80),
    }


def test_vectors_of_unknown_role_are_told():
    with pytest.raises(HypermnesiaError, match=r"what 'n.weight' of shape \(7,\) is: it follows no weight"):
        fans({"c.weight": CONV, "n.weight": torch.Size((7,))})
    with pytest.raises(HypermnesiaError, match="what 'n.weight' .* is: it follows no weight"):
        fans({"n.weight": torch.Size((7,))})
    with pytest.raises(HypermnesiaError, match="name 'n.wait'; the tensors are: c.weight"):
        fans({"c.weight": CONV}, scales=["n.wait"])


def test_variances():
    plain, biased, bias = Fan("weight", 50, 80), Fan("weight", 50, 80, biased=True), Fan("bias", 50, 80)
    assert target_variance(plain, "hyperfan-in") == 2 / 50
    assert target_variance(biased, "hyperfan-in") == 1 / 50
    assert target_variance(bias, "hyperfan-in") == 1
    assert target_variance(biased, "hyperfan-out") == 2 / 80
    assert target_variance(bias, "hyperfan-out") == 2 * (1 - 50 / 80)
    assert target_variance(Fan("bias", 80, 50), "hyperfan-out") == 0
    assert target_variance(Fan("bias", 80, 50), "hyperfan-harmonic") == 0
    # Harmonic is Xavier's variance, and lies between the other two.
    assert target_variance(plain, "hyperfan-harmonic", gain=1) == pytest.approx(2 / (50 + 80))


@pytest.mark.parametrize("scheme", ["hyperfan-in", "hyperfan-out", "hyperfan-harmonic"])
@pytest.mark.parametrize("activation", ["relu", "elu", "tanh", "sigmoid", "linear"])
def test_dense_hyperfan_gives_the_targets_variance(scheme, activation):
    shapes = {
        "c.weight": CONV,
        "l.weight": LINEAR,
        "l.bias": LINEAR[:1],
        "n.weight": CONV[:1],
        "n.bias": CONV[:1],
    }
    options = DenseOptions(
        embedding=64, hidden=(300, 300), activation=activation, init=scheme, embedding_std=0.7
    )
    found = spread(options.build(shapes, rng_of(0), scales=["n.weight"], shifts=["n.bias"]))
    for name, fan in fans(shapes, ["n.weight"], ["n.bias"]).items():
        if fan.kind in ("weight", "bias"):
            tolerance = 0.1 if fan.kind == "weight" else 0.3
            assert found[name] == pytest.approx(target_variance(fan, scheme), rel=tolerance), name
    assert (found["n.weight"], found["n.bias"]) == (1, 0)


def test_kaiming_and_xavier_are_special_cases():
    """He et al. 2015: 2 / fan_in. Glorot & Bengio 2010: 2 / (fan_in + fan_out)."""
    shapes = {"w": LINEAR}
    for scheme, gain, expected in (("hyperfan-in", 2.0, 2 / 50), ("hyperfan-harmonic", 1.0, 2 / 130)):
        generator = Dense(DenseOptions(embedding=64, hidden=(300,)), shapes)
        generator.hyperfan(scheme, fans(shapes), rng_of(0), gain)
        assert spread(generator)["w"] == pytest.approx(expected, rel=0.1)


def test_heads_hyperfan():
    shapes = {"c.weight": CONV, "l.weight": LINEAR}
    options = HeadsOptions(embedding=64, hidden=(300, 300), channel_embedding=100, init="hyperfan-in")
    found = spread(options.build(shapes, rng_of(0)))
    assert found["c.weight"] == pytest.approx(2 / 180, rel=0.1)
    assert found["l.weight"] == pytest.approx(2 / 50, rel=0.1)


def test_low_rank_hyperfan():
    shapes = {"c.weight": CONV, "l.weight": LINEAR, "l.bias": LINEAR[:1]}
    options = LowRankOptions(embedding=64, layer_embedding=64, hidden=(300, 300), rank=6, init="hyperfan-in")
    found = spread(options.build(shapes, rng_of(0)))
    assert found["c.weight"] == pytest.approx(2 / 180, rel=0.2)
    assert found["l.weight"] == pytest.approx(1 / 50, rel=0.2)


@pytest.mark.parametrize("conditional", [False, True])
def test_chunked_hyperfan(conditional):
    """Chunks that lie in one tensor each get that tensor's variance."""
    shapes = {
        "a.weight": torch.Size((200, 50)),
        "b.weight": torch.Size((100, 200)),
        "b.bias": torch.Size((100,)),
    }
    options = ChunkedOptions(
        chunk=500,
        embedding=8,
        chunk_embedding=64,
        hidden=(300,),
        embedding_std=0.01,
        init="hyperfan-in",
        conditional=conditional,
    )
    found = spread(options.build(shapes, rng_of(0)))
    assert found["a.weight"] == pytest.approx(2 / 50, rel=0.15)
    assert found["b.weight"] == pytest.approx(2 / 200, rel=0.15)


def test_chunked_hyperfan_warns_of_large_embeddings():
    shapes = {"w": torch.Size((20, 100))}
    options = ChunkedOptions(chunk=500, init="hyperfan-in")
    with pytest.warns(
        UserWarning, match=f"4 of 4 chunks start too large.*embedding_std below {sqrt(2 * 0.02):.2g}"
    ):
        generator = options.build(shapes, rng_of(0))
    assert generator.chunks.weight.std() < 0.01


def test_chunked_hyperfan_tells_what_it_cannot_do():
    with pytest.raises(
        HypermnesiaError,
        match="cannot start the norm scale 'n.weight' with hyperfan-in: write weights.norms=per_task",
    ):
        ChunkedOptions(init="hyperfan-in").build(
            {"w": LINEAR, "n.weight": LINEAR[:1]}, rng_of(0), ["n.weight"]
        )
    with pytest.raises(HypermnesiaError, match="works through chunk embeddings"):
        ChunkedOptions(chunk=4000, chunk_embedding=0, init="hyperfan-in").build({"w": LINEAR}, rng_of(0))
    with pytest.raises(
        HypermnesiaError, match="norm scales can only start at 1 in a generator with bias=true"
    ):
        DenseOptions(bias=False, init="hyperfan-in").build({"n": LINEAR[:1]}, rng_of(0), scales=["n"])


def test_plain_is_torchs_start():
    generator = DenseOptions(embedding=50, hidden=(200,)).build({"w": torch.Size((300, 10))}, rng_of(0))
    for weights, fan_in in ((generator.trunk.layers[0].weight, 50), (generator.out.weight, 200)):
        assert weights.abs().max().item() == pytest.approx(1 / sqrt(fan_in), rel=0.01)
        assert weights.var().item() == pytest.approx(1 / (3 * fan_in), rel=0.05)
    assert generator.trunk.layers[0].bias.abs().max().item() == pytest.approx(1 / sqrt(50), rel=0.05)


def test_xavier_start():
    generator = ChunkedOptions(chunk=300, hidden=(50,), init="xavier").build(
        {"w": torch.Size((600, 4))}, rng_of(0)
    )
    bias = generator.out.weight[:, -1]
    assert torch.equal(bias, torch.zeros_like(bias))
    assert generator.out.weight[:, :-1].var().item() == pytest.approx(2 / (50 + 300), rel=0.05)
    layer = generator.trunk.layers[0]
    assert torch.equal(layer.bias, torch.zeros(50))
    assert layer.weight.var().item() == pytest.approx(2 / (16 + 50), rel=0.1)
    weights = generator.chunks.weight.clone()
    xavier(generator, rng_of(0))
    assert torch.equal(generator.chunks.weight, weights)
