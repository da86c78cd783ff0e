"""Low-rank additions to, and soft masks over, a network that stays as it is: what is stored and what moves."""

import math
from dataclasses import replace
from typing import Any

import pytest
import small
import torch

import hypermnesia as hm
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors, copy, count, num_bytes
from hypermnesia.nets import ViTOptions
from hypermnesia.training.events import TaskEnded
from hypermnesia.weights.build import build_model
from hypermnesia.weights.hypernets.lowrank import LowRank
from hypermnesia.weights.options import LoRA, Mask, Weights

TINY = ["net=vit", "net.patch=4", "net.depth=2", "net.width=16", "net.heads=2", "train.threads=1"]
ATTENTION = ("*.attn.*.weight",)


def written(depth: int, rank: int, tasks: int) -> tuple[LowRank, int]:
    """(the generator of additions to a ViT's attention after so many tasks, bytes of one stored adapter)."""
    net = ViTOptions(depth=depth, width=192).build((3, 32, 32), 10)
    options = LoRA(target=ATTENTION, generator=replace(LoRA().default_generator(), rank=rank))  # pyright: ignore[reportCallIssue]
    writer = build_model(net, None, options, rng()).generator
    assert isinstance(writer, LowRank)
    for _ in range(tasks):
        writer.grow(rng())
    return writer, sum(4 * rank * (shape[0] + shape[1]) for shape in writer.shapes.values())


def rng() -> torch.Generator:
    return generator(0, "low rank")


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_a_hundred_tasks_take_fewer_bytes_than_a_hundred_adapters(rank: int):
    """Here they are as large as five adapters: the attention's 24 matrices have one size, and share their heads."""
    writer, adapter = written(depth=6, rank=rank, tasks=100)
    everything = num_bytes(dict(writer.named_parameters()))
    assert len(writer.shapes) == 24
    assert everything < 5 * adapter
    embeddings = num_bytes(dict(writer.embeddings.named_parameters()))
    assert embeddings == 100 * 32 * 4


def test_a_deeper_network_costs_one_layer_embedding_per_matrix():
    sizes = [count(dict(written(depth, 4, tasks=1)[0].named_parameters())) for depth in (2, 12)]
    assert sizes[1] - sizes[0] == 10 * 4 * 32


def test_the_key_rank_and_the_pattern_of_targets():
    words = [
        "weights=lora",
        "rank=3",
        "target=[*.attn.*.weight]",
        "train.iterations=2",
        "stream.tasks=2",
        *TINY,
    ]
    cfg = hm.resolve("split-digits", "hnet", words)
    assert (cfg.sections["weights"].generator.rank, cfg.sections["weights"].generator.init) == (3, "zero")
    run = hm.build(cfg)
    for _ in run:
        pass
    model = run.learner.model
    assert [name for name, role in model.roles.items() if role == "added"] == [
        f"block{i}.attn.{key}.weight" for i in (1, 2) for key in "qkvo"
    ]
    assert {name: role for name, role in model.roles.items() if role not in ("added", "frozen")} == {
        "head.weight": "per_task",
        "head.bias": "per_task",
    }


@pytest.mark.parametrize(("kind", "share"), [("lora", 1.0), ("mask", math.tanh(2))])
def test_a_task_starts_at_the_base(kind: Any, share: float):
    model = hm.model_for(small.split_stream(), small.mlp, over_base(kind))
    base = copy(dict(model.target.named_parameters()))["layer.0.weight"]
    model.begin_task(rng())
    found = model.written([0])["layer.0.weight"][0].detach()
    torch.testing.assert_close(found, share * base, rtol=0 if kind == "lora" else 0.1, atol=0)


def over_base(kind: str) -> Weights:
    """Low-rank changes of a base that stays as it is."""
    if kind == "lora":
        return LoRA()
    return Mask(base_trainable="never", generator=Mask().default_generator("lowrank"))


def trained(kind: Any, beta: float) -> tuple[hm.Fit, Tensors]:
    """(the run, what was written for the first task when it ended) over two tasks; the base must not move."""
    stream = small.split_stream(tasks=2)
    model = hm.model_for(stream, small.mlp, over_base(kind))
    first: Tensors = {}
    base = copy(dict(model.target.named_parameters()))
    run = hm.Fit(
        model,
        stream,
        hm.combine(hm.Finetune(), hm.Drift(beta=beta)),
        hm.TrainOptions(iterations=60, batch_size=8, threads=1),
        hm.OptimizerOptions(lr=0.003),
    )
    for event in run:
        if isinstance(event, TaskEnded) and event.task == 0:
            first = copy(model.written([0]))
    moved = [name for name, value in model.target.named_parameters() if not torch.equal(value, base[name])]
    assert [name for name in moved if "head" not in name] == []
    return run, first


@pytest.mark.parametrize("kind", ["lora", "mask"])
def test_drift_holds_what_was_written_for_the_first_task(kind: Any):
    moved = []
    for beta in (0.0, 10.0):
        run, first = trained(kind, beta)
        now = copy(run.learner.model.written([0]))
        moved.append(sum(float((now[name] - value).square().sum()) for name, value in first.items()))
        assert max(run.records.rows["task"][-1]) > 0.6
    assert moved[1] < moved[0] / 20


def test_masks_over_a_frozen_base_keep_a_classifier_per_task():
    cfg = hm.resolve("split-digits", "hypermask", ["generator=lowrank", "base_trainable=never", *TINY])
    assert cfg.sections["weights"].generator.mask_bias == 2.0
    model = hm.build(cfg).learner.model
    assert (model.roles["head.weight"], model.roles["block1.attn.q.weight"]) == ("per_task", "masked")
    trains = hm.build(hm.resolve("split-digits", "hypermask", ["generator=lowrank", *TINY])).learner.model
    assert trains.roles["head.weight"] == "masked"
