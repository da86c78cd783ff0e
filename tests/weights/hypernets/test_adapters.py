"""Additions that are stored: for each task, for all, or summed up; and what keeps them apart."""

import pytest
import small
import torch

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import copy
from hypermnesia.experiments.resolve import from_toml, resolve
from hypermnesia.methods.penalties.inflora import InfLoRA
from hypermnesia.methods.penalties.orthogonal import Orthogonal
from hypermnesia.training.events import TaskEnded
from hypermnesia.training.stacked import together
from hypermnesia.weights.hypernets.adapters import AdapterOptions, Adapters
from hypermnesia.weights.options import LoRA

KEY = "layer.0.weight"
WORDS = ["weights=lora", "train.iterations=3", "train.threads=1", "stream.tasks=3"]


def trained(written: str, *penalties: hm.Penalty, **options: object) -> tuple[hm.Fit, list[torch.Tensor]]:
    """(the run over three tasks, what the first layer's addition was for each task at its end)."""
    stream = small.split_stream()
    made = AdapterOptions(rank=2, sharing=written, **options)  # pyright: ignore[reportArgumentType]
    weights = LoRA(written=written, generator=made)  # pyright: ignore[reportArgumentType]
    run = small.run(
        stream, weights, hm.combine(hm.Finetune(), *penalties), hm.TrainOptions(iterations=20, batch_size=8)
    )
    added = []
    for event in run:
        if isinstance(event, TaskEnded):
            added.append(copy(run.learner.model.written([event.task]))[KEY][0])
    return run, added


def now(run: hm.Fit, task: int) -> torch.Tensor:
    return run.learner.model.written([task])[KEY][0].detach()


def test_stored_ones_rest_when_their_task_has_ended() -> None:
    run, added = trained("stored")
    model = run.learner.model
    assert model.depends_on_task and model.head is not None and model.head.kind == "per_task"
    for task, then in enumerate(added):
        assert torch.equal(now(run, task), then)
    assert not torch.equal(added[0], added[1])


def test_a_shared_one_goes_on_and_a_shared_head_needs_no_task() -> None:
    run, added = trained("shared")
    model = run.learner.model
    assert not model.depends_on_task and model.head is not None and model.head.kind == "shared"
    assert torch.equal(now(run, 0), now(run, 2)) and not torch.equal(now(run, 0), added[0])
    assert "class" in run.records.rows


@pytest.mark.parametrize("magnitudes", [False, True])
def test_a_sum_keeps_what_was_added(magnitudes: bool) -> None:
    run, added = trained("summed", magnitudes=magnitudes)
    writer = run.learner.model.generator
    assert isinstance(writer, Adapters) and not run.learner.model.depends_on_task
    base = dict(run.learner.model.target.named_parameters())[KEY]
    terms = [(up @ down.mT)[0] for up, down in zip(writer.rows("up")[0], writer.rows("down")[0], strict=True)]
    if magnitudes:
        sizes = writer.sizes[0]
        terms = [t * s / t.norm() for t, s in zip(terms, sizes, strict=False)] + terms[-1:]
        assert len(sizes) == 2 and not torch.allclose(sizes[0], torch.linalg.matrix_norm(added[0] - base))
    else:
        torch.testing.assert_close(base + terms[0], added[0])
    torch.testing.assert_close(now(run, 0), base + sum(terms))


def test_a_penalty_keeps_them_apart() -> None:
    def overlap(*penalties: hm.Penalty) -> float:
        writer = trained("summed", *penalties)[0].learner.model.generator
        assert isinstance(writer, Adapters)
        first, last = writer.rows("down")[0][0], writer.rows("down")[0][2]
        return float((first.mT @ last).detach().square().sum())

    assert overlap(Orthogonal(strength=50.0)) < 0.1 * overlap()


@pytest.mark.parametrize("written", ["stored", "summed"])
def test_in_a_stack_each_run_is_held_apart_from_its_own_additions(written: str) -> None:
    options = AdapterOptions(rank=2, sharing=written)  # pyright: ignore[reportArgumentType]
    weights = LoRA(written=written, generator=options)  # pyright: ignore[reportArgumentType]
    method, sgd = hm.combine(hm.Finetune(), Orthogonal(strength=5.0)), hm.OptimizerOptions(name="sgd", lr=0.1)
    train = hm.TrainOptions(iterations=2, batch_size=8)

    def several() -> list[hm.Fit]:
        return [small.run(None, weights, method, train, seed=seed, optimizer=sgd) for seed in (0, 1)]

    stacked, single = several(), several()
    for _ in together(stacked):
        pass
    small.all_of(single)
    for ours, theirs in zip(stacked, single, strict=True):
        torch.testing.assert_close(ours.learner.model.stored(), theirs.learner.model.stored())


def test_a_new_task_starts_where_the_network_is() -> None:
    for written in ("stored", "shared", "summed"):
        model = small.grown(small.model(small.split_stream(), LoRA(written=written)), 1)  # pyright: ignore[reportArgumentType]
        base = dict(model.target.named_parameters())[KEY]
        assert torch.equal(model.written([0])[KEY][0], base)


def test_on_the_command_line() -> None:
    cfg = resolve("split-digits", "finetune", [*WORDS, "written=summed", "rank=3", "orthogonal.strength=0.5"])
    weights = cfg.sections["weights"]
    assert weights.generator == AdapterOptions(sharing="summed", rank=3) and "drift" not in cfg.sections
    assert "infer" not in cfg.sections and from_toml(cfg.to_toml()).sha256 == cfg.sha256
    assert "drift" in resolve("split-digits", "hnet", [*WORDS]).sections
    assert "infer" in resolve("split-digits", "finetune", [*WORDS, "written=stored"]).sections
    run = hm.build(cfg)
    small.all_of([run])
    assert run.records.steps == 9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["written=summed", "generator=lowrank"], "weights.written=summed goes with generator=adapters"),
        (["generator=adapters"], "weights.written=generated goes with generator=lowrank or the like"),
        (
            ["written=stored", "generator.condition=similar"],
            "condition=similar is for generators that are given an",
        ),
        (["written=stored", "generator.magnitudes=true"], "magnitudes=true is for weights.written=summed"),
        (["written=stored", "generator.sharing=shared"], "written=stored: leave generator.sharing out"),
        (["written=lent"], "written"),
    ],
)
def test_what_does_not_go_together(words: list[str], said: str) -> None:
    with pytest.raises(HypermnesiaError, match=said):
        resolve("split-digits", "finetune", [*WORDS, *words])


def test_what_needs_adapters() -> None:
    with pytest.raises(HypermnesiaError, match="take weights=lora with weights.written=summed or stored"):
        small.run(method=hm.combine(hm.Finetune(), Orthogonal()))
    weights = LoRA(written="summed", generator=AdapterOptions(sharing="summed"))
    both = small.run(None, weights, hm.combine(hm.Finetune(), Orthogonal(), InfLoRA()))
    with pytest.raises(HypermnesiaError, match="which inflora sets and lets rest: leave one of the two out"):
        small.all_of([both])
    with pytest.raises(HypermnesiaError, match="adds to weights that are there: take weights=lora"):
        resolve("split-digits", "hnet", ["generator=adapters"])
