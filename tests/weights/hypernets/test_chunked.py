"""The chunked hypernetwork against a loop over chunks, and the sizes of the published runs."""

import pytest
import torch
from torch.nn import functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights.hypernets.chunked import Chunked, ChunkedOptions
from hypermnesia.weights.hypernets.dense import Dense, DenseOptions
from hypermnesia.weights.hypernets.initial import plain


def mlp(*widths: int) -> dict[str, torch.Size]:
    """Weights and biases of a multilayer perceptron."""
    shapes = {}
    for i, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        shapes |= {f"{i}.weight": torch.Size((after, before)), f"{i}.bias": torch.Size((after,))}
    return shapes


@pytest.mark.parametrize(
    "kind",
    [
        "chunked",
        "chunked, no surplus",
        "chunked, linear",
        "chunked, conditional",
        "chunked, conditional only",
    ],
)
def test_equals_a_loop_over_chunks(cases, kind):
    """One chunk and one task at a time, on [chunk embedding ; task embedding] side by side."""
    generator = cases[kind].build()
    for task in range(3):
        pieces = []
        for chunk in range(generator.num_chunks):
            own = generator.chunks[task] if cases[kind].options.conditional else generator.chunks.weight
            x = torch.cat([own[chunk], generator.embeddings[task]])
            for layer in generator.trunk.layers:
                x = F.relu(F.linear(x, layer.weight, layer.bias))
            pieces.append(generator.out.weight[:, :-1] @ x + generator.out.weight[:, -1])
        flat, start = torch.cat(pieces), 0
        for name, value in generator([task]).items():
            expected = flat[start : start + value.numel()].reshape(value.shape[1:])
            torch.testing.assert_close(value[0], expected, msg=name)
            start += value.numel()
        assert 0 <= len(flat) - start < generator.chunk


def test_one_chunk_without_embedding_is_the_dense_one():
    shapes = mlp(3, 4, 2)
    for hidden in ((6, 5), ()):
        dense = Dense(DenseOptions(embedding=3, hidden=hidden), shapes)
        plain(dense, rng_of(0))
        dense.grow(rng_of(1))
        options = ChunkedOptions(chunk=26, chunk_embedding=0, embedding=3, hidden=hidden)
        chunked = Chunked(options, shapes)
        chunked.grow(rng_of(2))
        chunked.load_state_dict(dense.state_dict() | {"chunks.weight": torch.empty(1, 0)})
        for name, value in dense([0]).items():
            torch.testing.assert_close(chunked([0])[name], value)


# The paper's code: target, tasks, hidden, chunk, sizes of e and c → chunks, parameters, and the published
# ratio of these to the target's.
PAPER = {
    "SplitMNIST": (mlp(784, 400, 400, 10), 5, (10, 10), 42000, (96, 96), 12, 465_672, 0.973),
    "PermMNIST-10": (mlp(1024, 1000, 1000, 100), 10, (25, 25), 78000, (24, 8), 28, 2_029_939, 0.955),
    "PermMNIST-10, small": (mlp(1024, 100, 100, 100), 10, (100, 75, 50), 2000, (64, 12), 62, 122_459, 0.998),
    "PermMNIST-100": (
        mlp(1024, 1000, 1000, 1000),
        100,
        (200, 250, 350),
        7500,
        (128, 12),
        404,
        2_816_448,
        0.930,
    ),
    "PermMNIST-250": (
        mlp(1024, 1000, 1000, 2500),
        250,
        (200, 250, 350),
        12000,
        (128, 12),
        378,
        4_414_836,
        0.975,
    ),
    # ResNet-32 with 60 outputs (466,268) and its norms' scales and shifts (2,272).
    "CIFAR, ResNet-32": ({"all": torch.Size((468_540,))}, 6, (), 7000, (32, 32), 67, 457_336, 0.976),
    # ZenkeNet with 60 outputs.
    "CIFAR, ZenkeNet": (
        {"all": torch.Size((1_276_508,))},
        6,
        (100, 150, 200),
        5500,
        (48, 80),
        233,
        1_182_678,
        0.927,
    ),
}


def size(options: ChunkedOptions, shapes: dict[str, torch.Size], tasks: int) -> tuple[int, int]:
    """(chunks, all parameters with the embeddings of the tasks)."""
    with torch.device("meta"):
        generator = Chunked(options, shapes)
    for _ in range(tasks):
        generator.grow(rng_of(0))
    return generator.num_chunks, sum(parameter.numel() for parameter in generator.parameters())


@pytest.mark.parametrize("run", PAPER)
def test_sizes_of_the_paper(run):
    shapes, tasks, hidden, chunk, (embedding, chunk_embedding), chunks, parameters, ratio = PAPER[run]
    options = ChunkedOptions(chunk=chunk, embedding=embedding, chunk_embedding=chunk_embedding, hidden=hidden)
    assert size(options, shapes, tasks) == (chunks, parameters)
    target = sum(shape.numel() for shape in shapes.values())
    assert parameters / target == pytest.approx(ratio, abs=6e-4)


@pytest.mark.parametrize(
    ("shapes", "tasks", "target", "parameters"),
    [
        (mlp(784, 100, 100, 2), 5, 88_802, 88_542),  # Split MNIST, hypnettorch's example as it stands
        (mlp(1024, 100, 100, 10), 10, 113_610, 88_846),  # Permuted MNIST
        ({"all": torch.Size((463_018,))}, 6, 463_018, 92_542),  # ResNet-32 without norms on split CIFAR
    ],
)
def test_sizes_at_the_examples_defaults(shapes, tasks, target, parameters):
    assert sum(shape.numel() for shape in shapes.values()) == target
    chunks, found = size(ChunkedOptions(), shapes, tasks)
    assert found == parameters
    assert chunks == {88_802: 119, 113_610: 152, 463_018: 618}[target]


def test_conditional_chunks_belong_to_their_task(cases):
    generator = cases["chunked, conditional"].build()
    assert generator.task_parameters(1) == ["embeddings.1", "chunks.1"]
    assert generator.get_parameter("chunks.1").shape == (generator.num_chunks, 2)


def test_impossible_embeddings_are_told():
    with pytest.raises(HypermnesiaError, match="chunk_embedding=0: all 2 chunks would be equal"):
        ChunkedOptions(chunk=20, chunk_embedding=0).build(mlp(3, 4, 2), rng_of(0))
    with pytest.raises(
        HypermnesiaError,
        match="generator.embedding=0: expected integer >= 1 with generator.conditional=false",
    ):
        ChunkedOptions(embedding=0)
    with pytest.raises(
        HypermnesiaError,
        match="generator.chunk_embedding=0: expected integer >= 1 with generator.conditional=true",
    ):
        ChunkedOptions(conditional=True, chunk_embedding=0)
