"""Codes that are read from samples: what they are made of, what they do not depend on, and when nothing reads."""

import pytest
import torch
from torch import nn

from hypermnesia import load, model_for
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.nets import BottleneckOptions
from hypermnesia.weights import ChunkedOptions, ClasswiseOptions, DenseOptions
from hypermnesia.weights.hypernets.condition import Reader, reader
from hypermnesia.weights.hypernetwork import Hypernetwork
from hypermnesia.weights.options import LoRA

SHAPES = {"one vector": (4,), "one for each output": (3, 4)}
x = torch.randn(12, 2, 5, generator=rng_of(0))
y = torch.arange(12) % 3


def made(kind, shape, queries=0) -> Reader:
    return reader(kind, (6,), (2, 5), torch.float32, 3, shape, rng_of(1), queries)


@pytest.mark.parametrize(("kind", "queries"), [("prototypes", 0), ("set", 0), ("set", 2)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_set_has_no_order_and_what_weighs_nothing_is_not_in_it(kind, queries, shape):
    read = made(kind, shape, queries)
    code = read(x, y)
    assert code.shape == shape and torch.equal(code, made(kind, shape, queries)(x, y))
    shuffled = torch.randperm(12, generator=rng_of(2))
    torch.testing.assert_close(read(x[shuffled], y[shuffled]), code)
    weight = (torch.arange(12) < 9).float()
    torch.testing.assert_close(read(x, y, weight), read(x[:9], y[:9]))
    assert not torch.allclose(read(x, (y + 1) % 3), code)  # which sample has which label matters


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_prototypes_are_class_means_under_a_linear_map(shape):
    read = made("prototypes", shape)
    means = torch.stack([x[y == c].flatten(1).mean(0) for c in range(3)])
    if len(shape) == 1:
        expected = read.out.weight @ means.flatten()
    else:  # of equal length but for the noise of four samples
        length = (10 * (1 + torch.tensor(1.0).exp().add(1).log() / 4)).sqrt()
        expected = length * means / means.norm(dim=1, keepdim=True) @ read.prototype.weight.T
    torch.testing.assert_close(read(x, y), expected)


@pytest.mark.parametrize("kind", ["prototypes", "set"])
def test_codes_of_a_samples_size_start_as_normalised_means(kind):
    """And with rows that start as codes the answer is the nearest mean by cosine."""
    read = made(kind, (3, 10))
    code, means = read(x, y), torch.stack([x[y == c].flatten(1).mean(0) for c in range(3)])
    torch.testing.assert_close(code / code.norm(dim=1, keepdim=True), means / means.norm(dim=1, keepdim=True))
    shapes = {"weight": torch.Size((3, 10)), "bias": torch.Size((3,))}
    generator = ClasswiseOptions(init="nearest-mean").build(shapes, rng_of(0))
    generator.grow(rng_of(0))
    with torch.no_grad():
        generator.embeddings[0].copy_(code)
    written = generator([0])
    torch.testing.assert_close(written["weight"][0], code * 14 / 10**0.5)
    assert not written["bias"].any()


@pytest.mark.parametrize("kind", ["prototypes", "set"])
def test_a_class_is_read_from_its_own_samples(kind):
    read = made(kind, (3, 4))
    code, other = read(x, y), read(torch.where((y == 1).view(-1, 1, 1), x, x + 1), y)
    torch.testing.assert_close(other[1], code[1])
    assert (other[[0, 2]] != code[[0, 2]]).any(1).all()
    assert (read(x[y != 1], y[y != 1])[1] == 0).all()  # no samples


def test_attention_is_a_softmax_of_the_samples_likeness_to_each_query():
    read = made("set", (4,), queries=2)
    assert read.queries is not None and read.trunk is not None and read.out is not None
    z = read.trunk(x.flatten(1), (y[:, None] == torch.arange(3)).float())
    weights = (z @ read.queries.T / z.shape[1] ** 0.5).softmax(0)
    torch.testing.assert_close(read(x, y), read.out((weights.T @ z).flatten()))
    apart = made("set", (3, 4), queries=1)
    with torch.no_grad():
        assert apart.queries is not None
        apart.queries.mul_(
            1e4
        )  # the likest sample of each class alone, however far those of other classes are ahead
    code = apart(x, y)
    assert code.isfinite().all() and (code != 0).any(1).all()
    code.sum().backward()
    assert apart.queries.grad is not None and apart.queries.grad.isfinite().all()


def test_a_free_generator_has_nothing_that_reads():
    stream = load("split-digits")
    free = model_for(stream, lambda outputs: nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)), "hyper")
    assert free.generator is not None and free.generator.reader is None
    assert not any("reader" in name for name, _ in free.named_parameters())


def test_codes_do_not_train():
    stream = load("split-digits")
    options = DenseOptions(condition="set", hidden=(4,), encoder=(3,))
    model = model_for(
        stream, lambda outputs: nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)), "hyper", options
    )
    model.begin_task(rng_of(0))
    names = set(model.trainable())
    assert "generator.embeddings.0" not in names and "generator.reader.out.weight" in names


def test_what_cannot_be_read_is_told():
    with pytest.raises(
        HypermnesiaError, match="condition=set reads images or vectors, and these samples are texts"
    ):
        reader("set", (), (7,), torch.int64, 3, (4,), rng_of(0))
    stream = load("split-digits")

    def net(outputs: int = 2) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))

    with pytest.raises(
        HypermnesiaError, match="this generator keeps more for each task: take generator=classwise"
    ):
        model_for(stream, net, "hyper", ChunkedOptions(condition="prototypes", conditional=True))
    with pytest.raises(
        HypermnesiaError, match="take generator.condition=set, or leave generator.queries out"
    ):
        ChunkedOptions(condition="prototypes", queries=2)
    with pytest.raises(
        HypermnesiaError, match="rows of 64 numbers that are codes, of 5 here: leave generator.embedding"
    ):
        model_for(stream, net, "hyper", ClasswiseOptions(embedding=5, init="nearest-mean"))
    with pytest.raises(
        HypermnesiaError,
        match="Hypernetwork: condition='prototypes' reads a task's samples, which this module never sees",
    ):
        Hypernetwork(net(), DenseOptions(condition="prototypes"))


def test_a_class_has_the_same_row_wherever_it_stands():
    shapes = {"weight": torch.Size((3, 5)), "bias": torch.Size((3,))}
    generator = ClasswiseOptions(embedding=4, hidden=(6,)).build(shapes, rng_of(0))
    for _ in range(2):
        generator.grow(rng_of(1))
    with torch.no_grad():
        generator.embeddings[1].copy_(generator.embeddings[0].roll(1, 0))
    first, second = ({name: value[t] for name, value in generator([0, 1]).items()} for t in (0, 1))
    for name in shapes:
        torch.testing.assert_close(second[name], first[name].roll(1, 0))


def test_additions_start_at_nothing_and_rows_keep_to_their_codes():
    """A frozen network whose nearest mean answers, until what is written beside its classifier is trained."""
    stream = load("split-digits")
    options = ClasswiseOptions(condition="prototypes", init="zero", context=(3,))
    model = model_for(
        stream,
        lambda outputs: BottleneckOptions(width=5).build(stream.shape, outputs),
        LoRA(generated=("head.*",), generator=options),
    )
    model.begin_task(rng_of(0))
    generator = model.generator
    assert generator is not None and generator.reader is not None
    raw, labels = stream.tasks[0].train.batch(torch.arange(40))
    features = stream.preprocess(raw)
    with torch.no_grad():
        code = generator.reader(features, labels)
        generator.embeddings[0].copy_(code)
        written = generator([0])
        torch.testing.assert_close(
            model.eval()(features, 0), features.flatten(1) @ code.T * 14 / 8, atol=2e-3, rtol=2e-3
        )
        generator.embeddings[0][0] += 1
    assert not written["adapter.up.weight"].any() and not written["adapter.down.weight"].any()
    assert torch.equal(generator([0])["head.weight"][0, 1], written["head.weight"][0, 1])
    model.train()(features, 0).square().sum().backward()
    assert generator.out.weight.grad.any()  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]


def test_what_is_written_beside_sees_the_direction_of_the_mean_code():
    """So a task of five classes among sixty rows, of which fifty-five are 0, is seen as one of five."""
    shapes = {"up": torch.Size((2, 3)), "weight": torch.Size((4, 5))}
    generator = ClasswiseOptions(embedding=4, context=(6,)).build(shapes, rng_of(0))
    for _ in range(2):
        generator.grow(rng_of(1))
    with torch.no_grad():
        generator.embeddings[1].copy_(generator.embeddings[0] / 7)
    torch.testing.assert_close(*generator([0, 1])["up"])


def test_a_classifier_needs_a_matrix():
    with pytest.raises(HypermnesiaError, match="no matrix is among the tensors to write: scale"):
        ClasswiseOptions().build({"scale": torch.Size((3,))}, rng_of(0))
