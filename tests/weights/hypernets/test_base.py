"""What holds for generators of every kind: growth, batches of tasks, purity, randomness, errors."""

import pytest
import torch
from torch.func import functional_call

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.weights import GENERATORS
from hypermnesia.weights.hypernets.base import without_noise
from hypermnesia.weights.hypernets.chunked import ChunkedOptions
from hypermnesia.weights.hypernets.deconv import DeconvOptions
from hypermnesia.weights.hypernets.dense import DenseOptions
from hypermnesia.weights.hypernets.factors import take
from hypermnesia.weights.hypernets.structured import StructuredOptions


def test_writes_the_shapes_in_their_order(case):
    written = case.build()([0, 2])
    assert {name: value.shape[1:] for name, value in written.items()} == dict(case.shapes)
    assert list(written) == list(case.shapes)
    assert all(len(value) == 2 for value in written.values())


def test_tasks_differ_and_a_batch_equals_one_by_one(case):
    generator = case.build()
    batch = generator([2, 0, 2])
    for position, task in enumerate([2, 0, 2]):
        for name, value in generator([task]).items():
            torch.testing.assert_close(batch[name][position], value[0])
    assert all((value[0] != value[1]).any() for value in batch.values())


def test_drawn_tasks_equal_named_ones(case):
    generator = case.build()
    named, drawn = generator([2, 1]), generator(torch.tensor([2, 1]))
    assert all(torch.equal(value, drawn[name]) for name, value in named.items())


def test_factors_assemble_to_the_tensors(case):
    generator = case.build()
    factors = generator([0, 1, 2], factored=True)
    whole = generator([0, 1, 2])
    assert all(torch.equal(value, whole[name]) for name, value in generator.assemble(factors).items())
    for name, value in generator.assemble(take(factors, torch.tensor([2, 0]))).items():
        torch.testing.assert_close(value, whole[name][[2, 0]])


def test_growth_adds_the_rows_of_one_task_and_moves_nothing(case):
    generator = case.build(tasks=2)
    before = {name: value.detach().clone() for name, value in generator.named_parameters()}
    generator.grow(rng_of(5, "grow"))
    after = dict(generator.named_parameters())
    assert set(after) - set(before) == set(generator.task_parameters(2))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert generator.num_tasks == 3
    assert generator.task_parameters(3) == []
    assert all(after[name].dtype == torch.float64 for name in generator.task_parameters(2))


def test_growth_from_the_previous_task(case):
    generator = case.build(tasks=2)
    generator.grow(rng_of(5, "grow"), init="previous")
    for value in generator([1, 2]).values():  # some matrix kernels round by the row's place in the batch
        torch.testing.assert_close(value[0], value[1], rtol=1e-5, atol=1e-6)
    assert all(
        generator.get_parameter(new) is not generator.get_parameter(old)
        for new, old in zip(generator.task_parameters(2), generator.task_parameters(1), strict=True)
    )


def test_randomness_comes_from_the_given_generator_alone(case):
    before = torch.get_rng_state()
    one, twin, other = (dict(case.build(seed=seed).named_parameters()) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, twin[name]) for name, value in one.items())
    assert all(not torch.equal(value, other[name]) for name, value in one.items() if value.numel())


def test_every_parameter_is_used(case):
    generator = case.build(tasks=1)
    sum(value.square().sum() for value in generator([0]).values()).backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in generator.parameters() if p.numel())


def test_is_a_function_of_its_parameters(case):
    generator, other = case.build(seed=0), case.build(seed=1)
    found = functional_call(generator, dict(other.named_parameters()), ([0, 1],))
    assert all(torch.equal(value, found[name]) for name, value in other([0, 1]).items())


def test_an_optimizer_takes_all_parameters(case):
    generator = case.build()
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.01, foreach=True)
    before = generator([0])
    sum(value.square().sum() for value in before.values()).backward()
    optimizer.step()
    assert all((generator([0])[name] != value).any() for name, value in before.items())


def test_unknown_tasks_are_told(case):
    with pytest.raises(HypermnesiaError, match=r"asked for task 3, but it has 3 \(0 to 2\); call grow\(\)"):
        case.build()([1, 3])
    with pytest.raises(HypermnesiaError, match=r"asked for task 0, but it has 0 \(none yet\)"):
        case.build(tasks=0)([0])
    with pytest.raises(HypermnesiaError, match="asked for no task at all"):
        case.build()([])
    with pytest.raises(HypermnesiaError, match="there is no earlier task"):
        case.build(tasks=0).grow(rng_of(0), init="previous")


@pytest.mark.parametrize("kind", GENERATORS)
def test_nothing_to_write_is_told(kind):
    options = GENERATORS[kind]
    with pytest.raises(HypermnesiaError, match="needs at least one tensor to write"):
        options().build({}, rng_of(0))


# ----------------------------------------------------------------------------------------------------- noise in training

NOISY = [
    (DenseOptions, {"embedding": 3, "hidden": (40,)}),
    (ChunkedOptions, {"chunk": 50, "embedding": 3, "chunk_embedding": 2, "hidden": (40,)}),
    (StructuredOptions, {"embedding": 3, "piece_embedding": 2, "hidden": (40,)}),
    (DeconvOptions, {"start": 2, "channels": (4,), "embedding": 3, "chunk_embedding": 2}),
]
NOISES = [{"dropout": 0.5}, {"embedding_noise": 0.5}]


@pytest.mark.parametrize(("kind", "options"), NOISY)
@pytest.mark.parametrize("noise", NOISES)
def test_noise_is_drawn_anew_in_training_and_absent_in_evaluation(kind, options, noise):
    shapes = {"w": torch.Size((9, 8)), "v": torch.Size((9,))}

    def built(**more):
        found = kind(**options, **more).build(shapes, rng_of(0))
        found.grow(rng_of(1))
        return found

    generator, quiet = built(**noise), built()
    assert list(generator.state_dict()) == list(quiet.state_dict())
    assert any(not torch.equal(generator([0])[n], generator([0])[n]) for n in shapes)
    with without_noise(generator):
        found = generator([0])
    assert generator.training
    for name, value in quiet([0]).items():
        torch.testing.assert_close(found[name], value)


def test_dropout_leaves_the_constant_before_the_last_map():
    """With a last map of zeros but for its bias, what is written is that bias, whatever is dropped."""
    generator = DenseOptions(embedding=3, hidden=(6,), dropout=0.9).build({"w": torch.Size((5,))}, rng_of(0))
    generator.grow(rng_of(1))
    with torch.no_grad():
        generator.out.weight.zero_()
        generator.out.weight[:, -1] = torch.arange(5.0)
    for _ in range(5):
        assert torch.equal(generator([0])["w"][0], torch.arange(5.0))
