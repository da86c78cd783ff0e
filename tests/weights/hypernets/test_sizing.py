"""Generators of a given size: the share of the target's numbers that they shall have."""

from math import prod

import pytest
import torch
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.nets import NETS
from hypermnesia.weights import (
    ChunkedOptions,
    DeconvOptions,
    DenseOptions,
    HeadsOptions,
    LowRankOptions,
    StructuredOptions,
)

NETWORKS = {
    "hypnettorch's": lambda: NETS["mlp"](hidden=(100, 100)).build((1, 28, 28), 2),
    "digits": lambda: NETS["mlp"](hidden=(40,)).build((1, 8, 8), 2),
    "lenet": lambda: NETS["lenet"]().build((1, 28, 28), 10),
    "resnet18": lambda: NETS["resnet18"]().build((3, 32, 32), 10),
    "one layer": lambda: nn.Linear(16, 4),
}


def shapes(net: str, least: int = 1) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: p.shape for name, p in NETWORKS[net]().named_parameters() if p.ndim >= least}


def share(options, written) -> float:
    """Counted from the parameters of what is built, tasks' own embeddings apart."""
    with torch.device("meta"):
        built = options.fitted(written).build(written, generator(0))
    return sum(p.numel() for p in built.parameters()) / sum(map(prod, written.values()))


@pytest.mark.parametrize("asked", [0.05, 0.1, 0.5, 1.0, 3.0, 150.0])
@pytest.mark.parametrize("net", ["hypnettorch's", "lenet", "resnet18"])
def test_chunks_meet_any_share(net, asked):
    assert share(ChunkedOptions(compression=asked), shapes(net)) == pytest.approx(asked, rel=2e-3)


def test_small_networks_are_met_nearly():
    for net, asked, near in [("digits", 1.0, 0.01), ("digits", 0.2, 0.02), ("one layer", 1.0, 0.05)]:
        assert share(ChunkedOptions(compression=asked), shapes(net)) == pytest.approx(asked, rel=near)


def test_widths_stay_where_they_leave_room():
    """hypnettorch's example has chunks of 750 and a ratio of 0.9971 with its tasks' embeddings."""
    fitted = ChunkedOptions(compression=1.0).fitted(shapes("hypnettorch's"))
    assert (fitted.hidden, fitted.chunk_embedding, fitted.chunk) == ((100, 100), 8, 753)
    small = ChunkedOptions(compression=0.25).fitted(shapes("hypnettorch's"))
    assert small.hidden[0] == small.hidden[1] < 100 and small.chunk_embedding < 8
    assert ChunkedOptions(compression=1.0, hidden=()).fitted(shapes("digits")).hidden == ()
    assert ChunkedOptions().fitted(shapes("digits")) == ChunkedOptions()


@pytest.mark.parametrize(
    ("options", "least"),
    [
        (DenseOptions(compression=26.0, init="hyperfan-in"), 1),
        (HeadsOptions(compression=2.0), 2),
        (LowRankOptions(compression=0.5, mask_bias=1.0), 1),
        (StructuredOptions(compression=3.0), 1),
        (DeconvOptions(compression=1.0), 1),
    ],
)
def test_widths_meet_a_share_nearly(options, least):
    written = shapes("lenet", least)
    assert share(options, written) == pytest.approx(options.compression, rel=0.05)
    assert options.fitted(written).compression is None


def test_a_run_has_the_share():
    from small import model, split_stream

    stream = split_stream()
    found = model(stream, "hyper", writer=ChunkedOptions(compression=1.0, embedding=2))
    target = sum(p.numel() for p in found.target.parameters())
    assert sum(p.numel() for p in found.generator.parameters()) == pytest.approx(target, rel=0.06)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ChunkedOptions(compression=0.001),
            r"compression=0.001 for 88,802 .*=chunked: the smallest that it can have is 0.0",
        ),
        (ChunkedOptions(compression=1.0, conditional=True), "leave generator.conditional and"),
        (ChunkedOptions(compression=99.0, hidden=()), "it has no hidden layer whose width could be chosen"),
        (DenseOptions(compression=0.5), "generator=dense: the nearest that its widths give is 2"),
        (DenseOptions(compression=9.0, hidden=()), "it has no hidden layer whose width could be chosen"),
    ],
)
def test_what_cannot_be_met_says_why(options, said):
    with pytest.raises(HypermnesiaError, match=said):
        options.fitted(shapes("hypnettorch's"))
