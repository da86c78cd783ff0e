"""Float vectors (features, sensors, embeddings) as samples: what is done to them, and that everything learns on them."""

import json
import re

import pytest
import small
import torch
from torch import Tensor

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data import Source, from_tensors, split
from hypermnesia.data.outline import from_outline, outline
from hypermnesia.experiments.build import assemble
from hypermnesia.methods.replay.buffer import Memory

FEATURES = 16


def vectors(classes: int = 6, per_class: int = 12) -> Source:
    """Gaussian clusters, each feature on a scale of its own."""
    rng = generator(0, "vectors")
    centres = torch.randn(classes, FEATURES, generator=rng)
    scales = 10.0 ** torch.arange(FEATURES).sub(8)

    def part(count: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(classes).repeat(count)
        return (centres[y] + 0.3 * torch.randn(len(y), FEATURES, generator=rng)) * scales + scales, y

    return from_tensors(*part(per_class), *part(4))


def test_the_training_part_standardises_and_raw_samples_stay():
    source = vectors()
    stream = split(source, tasks=3)
    x = torch.cat(
        [stream.preprocess(task.train.batch(torch.arange(len(task.train)))[0]) for task in stream.tasks]
    )
    torch.testing.assert_close(x.mean(0), torch.zeros(FEATURES), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(FEATURES), atol=1e-5, rtol=0)
    raw = stream.tasks[0].train.batch(torch.arange(5))[0]
    assert raw.dtype == torch.float32
    assert torch.equal(raw, source.train.x[stream.tasks[0].train.index[:5]])


def test_a_constant_feature_is_only_shifted():
    x, y = torch.full((8, 2), 0.1), torch.arange(8) % 2
    x[:, 1] = torch.arange(8.0)
    stream = split(from_tensors(x, y, x, y), tasks=1)
    assert stream.preprocess.std[0] == 1
    assert float(stream.preprocess(x)[:, 0].abs().max()) < 1e-6


def test_the_outline_keeps_the_kind():
    stream = split(vectors(), tasks=3)
    read = from_outline(json.loads(json.dumps(outline(stream))))
    assert (read.kind, read.shape, read.preprocess) == ("vectors", (FEATURES,), stream.preprocess)


@pytest.mark.parametrize(
    ("approach", "words"),
    [
        ("er", ["memory.size=30"]),
        ("derpp", ["memory.size=30"]),
        ("hcr", ["memory.size=30"]),
        ("agem", ["memory.size=30"]),
        ("gdumb", ["memory.size=30", "method.cutmix=0"]),
        ("icarl", ["memory.size=30", "method.flip=false"]),
        ("ewc", []),
        ("hnet", ["generator.chunk=200", "infer=agreement"]),
        ("hypermask", []),
    ],
)
def test_approaches_learn_on_vectors(approach: str, words: list[str]):
    common = ["train.batch_size=16", "net.hidden=[16]", "optimizer.lr=0.01", "train.iterations=100"]
    run = assemble(hm.resolve("split-digits", approach, [*common, *words]), split(vectors(), tasks=3))
    for _ in run:
        pass
    accuracies = run.records.rows["task"][-1]
    assert accuracies[-1] is not None and accuracies[-1] > 0.9


def test_a_memory_holds_raw_vectors():
    run = small.run(split(vectors(), tasks=3), method=hm.ER(memory=hm.MemoryOptions(size=6)))
    small.all_of([run])
    [memory] = [value for value in vars(run.learner.state).values() if isinstance(value, Memory)]
    known = {tuple(row) for row in vectors().train.x.tolist()}
    assert memory.x.dtype == torch.float32
    assert {tuple(row) for row in memory.x.tolist()} <= known


def test_nets_for_other_samples_are_refused():
    stream = split(vectors(), tasks=3)
    for net, said in (
        ("vit", "vit takes images, and these samples are vectors of 16 numbers: take net=mlp"),
        (
            "text-transformer",
            "text-transformer takes texts, and these samples are vectors of 16 numbers: take net=mlp",
        ),
    ):
        with pytest.raises(HypermnesiaError, match=re.escape(said)):
            assemble(hm.resolve("split-digits", "er", [f"net={net}"]), stream)
    with pytest.raises(
        HypermnesiaError, match="mlp takes images and vectors, and these samples are texts of 64 tokens"
    ):
        hm.build(hm.resolve("split-docstrings", "er", ["net=mlp"]))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            torch.tensor([[0.0, 1.0], [float("nan"), 1.0]]),
            "sample 1 has nan as its feature 0; expected finite numbers",
        ),
        (torch.zeros(2, 2, 2), "for float images in 0..1 pass (x * 255).round().to(torch.uint8)"),
        (torch.zeros(2, 8, dtype=torch.uint8), "flattened images go back to (N, H, W) by reshape"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), "looks like channels-last images (N, H, W, C)"),
        (torch.tensor([[0, -1], [1, 2]]), "negative numbers, which are no tokens; pass features as float32"),
        (torch.zeros(2, 2, dtype=torch.float64), "samples are torch.float64 (2, 2), expected uint8 images"),
    ],
)
def test_what_is_no_sample(x: Tensor, said: str):
    y = torch.arange(2)
    with pytest.raises(HypermnesiaError, match=re.escape(said)):
        from_tensors(x, y, x, y)
