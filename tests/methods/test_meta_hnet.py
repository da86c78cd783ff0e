"""Episodes: what is read is not asked about, codes are stored as the encoder is at a task's end, new tasks take no step."""

from dataclasses import replace

import pytest
import small
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator as rng_of
from hypermnesia.data.sources.stratify import first
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.learner import Batch, Learner, Net, Phase
from hypermnesia.methods.meta_hnet import EPISODES, Episode, MetaHNet, Support
from hypermnesia.training.events import StepDone, TaskEnded
from hypermnesia.training.loop import Fit
from hypermnesia.training.stacked import together

TINY = (
    *("stream.tasks=3", "stream.classes_per_task=2", "train.batch_size=16"),
    *("train.threads=1", "evaluate.samples=6"),
)


SET = ("generator.condition=set", "generator.encoder=[8]")


def run_of(*words: str, approach: str = "meta-hnet", steps: int = 5) -> Fit:
    return build(resolve("split-digits", approach, [*TINY, f"train.iterations={steps}", *words]), seed=0)


def to_the_end_of(run: Fit, task: int) -> Learner:
    for event in run:
        if isinstance(event, TaskEnded) and event.task == task:
            break
    return run.learner


def test_an_episode_reads_so_many_of_each_class() -> None:
    target = torch.tensor([0] * 5 + [1] * 2 + [2] * 9)
    batch = Batch(torch.zeros(16, 1), target, target, 0, torch.zeros(16, 1))
    learner = run_of().learner
    learner.phase = Phase(EPISODES)
    read = [MetaHNet(shots=3).draw(None, learner, batch, rng_of(seed)) for seed in (0, 1)]
    for one in read:
        assert one is not None
        found = torch.bincount(target, weights=one.read).tolist()
        assert all(1 <= count <= most for count, most in zip(found, (3, 2, 3), strict=True))
    assert not torch.equal(read[0].read, read[1].read)  # pyright: ignore[reportOptionalMemberAccess]
    learner.phase = Phase()
    assert MetaHNet().draw(None, learner, batch, rng_of(0)) is None


def test_an_episode_of_some_ways_leaves_other_classes_out() -> None:
    target = torch.arange(40) % 5
    batch = Batch(torch.zeros(40, 1), target, target, 0, torch.zeros(40, 1))
    learner = run_of().learner
    learner.phase = Phase(EPISODES)
    seen = set()
    for seed in range(20):
        one = MetaHNet(ways=2, shots=3).draw(None, learner, batch, rng_of(seed))
        assert one is not None and not (one.read * one.asked).any()
        classes = target[one.read > 0].unique()
        assert len(classes) == 2 and torch.equal(target[one.asked > 0].unique(), classes)
        assert (one.read + one.asked).sum() == 16
        seen.update(classes.tolist())
    assert seen == set(range(5))


def test_the_loss_is_that_of_the_samples_that_are_not_read() -> None:
    """By hand: the code of the first three samples, the weights that it stands for, cross-entropy on the others."""
    run = run_of(*SET)
    learner = to_the_end_of(run, 0)
    model, task = learner.model, run.stream.tasks[0]
    raw, y = task.train.batch(torch.arange(9))
    x = learner.preprocess(raw, None)
    batch, draw = (
        Batch(x, y, learner.targets(y, 0), 0, raw),
        Episode(read := (torch.arange(9) < 3).float(), 1 - read),
    )
    loss, _ = run.method.method.loss(Net(model), None, batch, draw)  # pyright: ignore[reportAttributeAccessIssue]
    generator = model.generator
    assert generator is not None and generator.reader is not None
    with torch.no_grad():
        generator.embeddings[0].copy_(generator.reader(x[:3], batch.target[:3]))
        logits = model(x[3:], 0)
    here = batch.target[:3].unique()
    assert torch.isin(batch.target[3:], here).all()
    masked = torch.full_like(logits, -torch.inf)
    masked[:, here] = logits[:, here]
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(masked, batch.target[3:]))
    one = batch.target == batch.target[0]  # of one way, whose only logit is the answer
    alone, _ = run.method.method.loss(Net(model), None, batch, Episode(read * one, (1 - read) * one))  # pyright: ignore[reportAttributeAccessIssue]
    assert alone == 0
    loss.backward()
    assert generator.reader.out.weight.grad is not None and generator.embeddings[0].grad is None


def test_what_is_held_is_what_was_read_when_the_task_ended() -> None:
    """By hand: two samples of each class of the first task, read then and read by what reads now."""
    run = run_of("method.base_tasks=3", "method.hold=0.5", "method.hold_samples=2", *SET)
    learner = to_the_end_of(run, 0)
    task, generator = run.stream.tasks[0], learner.model.generator
    assert generator is not None and generator.reader is not None
    raw, y = task.train.batch(first(task.train.y, 2))
    x, target = learner.preprocess(raw, None), learner.targets(y, 0)
    assert target.bincount().tolist() == [2, 2]
    then = generator.reader(x, target).detach()
    learner.phase = Phase(EPISODES)
    raw, y = run.stream.tasks[1].train.batch(torch.arange(8))
    batch = Batch(learner.preprocess(raw, None), y, y - 2, 1, raw)
    method, state = run.method.method, learner.state.method  # pyright: ignore[reportAttributeAccessIssue]
    draw = method.draw(state, learner, batch, rng_of(0))
    assert isinstance(draw.held, Support)
    assert all(torch.equal(*pair) for pair in ((draw.held.x, x), (draw.held.target, target)))
    assert torch.equal(draw.held.code, then)
    to_the_end_of(run, 1)  # what reads moves
    loss, aux = method.loss(Net(learner.model), state, batch, draw)
    alone, _ = method.loss(Net(learner.model), state, batch, Episode(draw.read, draw.asked))
    apart = 0.5 * (generator.reader(x, target) - then).square().sum()
    assert apart > 0 and aux.terms["hold"] == apart
    torch.testing.assert_close(loss, alone + apart)
    both = replace(method, rehearse=2.0)
    draw = both.draw(state, learner, batch, rng_of(0))
    again, aux = both.loss(Net(learner.model), state, batch, draw)
    kept = 2 * torch.nn.functional.cross_entropy(learner.model(x, 0), target)  # at the code that is stored
    torch.testing.assert_close(aux.terms["rehearse"], kept)
    torch.testing.assert_close(again, loss + kept)
    for _ in run:
        pass
    assert learner.state.method.raw == {}  # after the base nothing is left to hold


def test_runs_that_differ_in_strengths_are_stacked() -> None:
    words = ("method.base_tasks=2", "optimizer.name=sgd", "optimizer.lr=0.02", *SET)

    def several() -> list[Fit]:
        strengths = (("method.hold=0.1", "method.rehearse=0.1"), ("method.hold=3.0", "method.rehearse=9.0"))
        return [run_of(*words, *each, steps=2) for each in strengths]

    stacked, single = several(), several()
    for _ in together(stacked):
        pass
    small.all_of(single)
    found, expected = ([run.learner.model.stored() for run in each] for each in (stacked, single))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(
        found[0]["generator.reader.out.weight"], found[1]["generator.reader.out.weight"]
    )


def test_holding_keeps_what_is_read_of_the_first_task() -> None:
    moved = []
    for words in ((), ("method.hold=100",)):
        run = run_of("method.base_tasks=3", "optimizer.lr=0.005", *SET, *words)
        learner = to_the_end_of(run, 0)
        generator, task = learner.model.generator, run.stream.tasks[0]
        assert generator is not None and generator.reader is not None
        raw, y = task.train.batch(torch.arange(len(task.train)))
        x, target = learner.preprocess(raw, None), learner.targets(y, 0)
        then = generator.reader(x, target).detach()
        to_the_end_of(run, 2)
        moved.append((generator.reader(x, target) - then).norm().item())
    assert moved[1] < 0.5 * moved[0], moved


def test_codes_are_those_of_the_tasks_end_and_stay() -> None:
    run = run_of("method.base_tasks=2", *SET)
    learner = to_the_end_of(run, 0)
    generator, task = learner.model.generator, run.stream.tasks[0]
    assert generator is not None and generator.reader is not None
    stored = generator.embeddings[0].clone()
    raw, y = task.train.batch(first(task.train.y, generator.support))
    x = learner.preprocess(raw, None)
    assert torch.equal(generator.reader(x, learner.targets(y, 0)), stored)
    for _ in run:  # the second task moves what reads
        pass
    assert not torch.equal(generator.reader(x, learner.targets(y, 0)), stored)
    assert torch.equal(generator.embeddings[0], stored)


@pytest.mark.parametrize(
    "words", [["evaluate.steps=2"], ["train.select=best_validation", "look_every=2", "stream.validation=0.3"]]
)
def test_who_asks_in_the_middle_of_an_episode_is_answered_by_what_reads_now(words: list[str]) -> None:
    run = run_of(*SET, *words)
    for event in run:
        if isinstance(event, StepDone) and event.step == 4:
            break
    generator, task = run.learner.model.generator, run.stream.tasks[0]
    assert generator is not None and generator.reader is not None
    raw, y = task.train.batch(first(task.train.y, generator.support))
    assert torch.equal(generator.reader(run.learner.preprocess(raw, None), y), generator.embeddings[0])


def test_a_task_after_the_base_takes_no_step_and_moves_nothing_earlier() -> None:
    run = run_of()
    learner = to_the_end_of(run, 0)
    before = {name: value.clone() for name, value in learner.model.stored().items()}
    for _ in run:
        pass
    assert run.records.steps == 5
    after = learner.model.stored()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {"generator.embeddings.1", "generator.embeddings.2"} == set(after) - set(before)


def test_support_samples_are_the_first_of_each_class() -> None:
    assert first(torch.tensor([2, 2, 0, 2, 0, 0]), 2).tolist() == [0, 1, 2, 4]


def test_what_nothing_trains_or_reads_is_told() -> None:
    with pytest.raises(HypermnesiaError, match="this method does not train what reads the tasks"):
        run_of("generator=dense", "generator.condition=set", approach="hnet")
    with pytest.raises(HypermnesiaError, match="nothing reads them here: set generator.condition"):
        run_of("generator.condition=free")
    with pytest.raises(HypermnesiaError, match="method.rehearse is for base tasks of as many classes each"):
        build(
            resolve(
                "split-digits",
                "meta-hnet",
                ["method.rehearse=1", "method.base_tasks=2", "stream.classes_per_task=[4,2]"],
            )
        )
    for words in (["weights.head=sliced"], ["weights.per_task=[*.bias]"]):
        with pytest.raises(HypermnesiaError, match="at an earlier task's code, and here that task has more"):
            run_of("method.rehearse=1", "method.base_tasks=2", *SET, *words)
    with pytest.raises(HypermnesiaError, match="generator of the autoencoder keeps free embeddings"):
        build(resolve("split-digits", "hnet-replay", ["replay.generator.condition=set"]))


def test_prototypes_serve_any_method() -> None:
    words = ("generator=dense", "generator.hidden=[8]", "generator.condition=prototypes")
    codes = to_the_end_of(run_of(*words, approach="hnet"), 2).model.generator
    assert codes is not None and not torch.equal(codes.embeddings[0], codes.embeddings[1])
