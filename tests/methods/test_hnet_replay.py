"""HNET+R: distillation on replayed samples, and the autoencoder that they come from."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from methods.helpers import (
    UNEVEN,
    assert_same,
    finetune_gradients,
    loss_and_gradients,
    make_batch,
    make_learner,
    make_stream,
    slow_cross_entropy,
    slow_gradients,
)
from methods.regularisation_helpers import learner_on
from torch import Tensor, nn

from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.hnet_replay import Answered, HNETReplay, HNETReplayState
from hypermnesia.methods.learner import Learner, Net, Phase
from hypermnesia.methods.replay.generative import GenerativeOptions, VAEDraw
from hypermnesia.nets.vae import VAEOptions
from hypermnesia.training.events import Event, TaskEnded
from hypermnesia.training.loop import Fit
from hypermnesia.weights.hypernets.chunked import ChunkedOptions

METHOD = HNETReplay(
    replay=GenerativeOptions(
        share=0.3,
        vae=VAEOptions(encoder=(6,), decoder=(5,), latent=3, code=4),
        generator=ChunkedOptions(chunk=40, embedding=3, chunk_embedding=2, hidden=(4,)),
    )
)
HEADS = ["shared", "sliced", "per_task"]


def learner_of(method: HNETReplay, **options: Any) -> Learner:
    """A learner with the method's autoencoder."""
    learner = make_learner(**options)
    learner.models |= method.extra_models(make_stream(), 0)
    for task in range(learner.task + 1):
        learner.models["vae"].begin_task(generator(0, "vae", task))
    learner.phase = Phase("classifier")
    return learner


def state_of(method: HNETReplay, learner: Learner) -> HNETReplayState:
    """The state at the start of the learner's task, the classifier having moved a little since."""
    state = method.init(learner)
    for task in range(learner.task + 1):
        state = method.begin_task(state, replace(learner, task=task))
    rng = generator(0, "moved")
    with torch.no_grad():
        for value in learner.model.trainable().values():
            value += 0.3 * torch.randn(value.shape, generator=rng)
    return state


def drawn(
    method: HNETReplay, state: HNETReplayState, learner: Learner, size: int = 6
) -> tuple[Answered, ...]:
    draw = method.draw(state, learner, make_batch(learner, size), generator(0, "draw"))
    assert isinstance(draw, tuple)
    return draw


# ------------------------------------------------------------------------------------------------ the slow twin


def slow_old(learner: Learner, state: HNETReplayState, x: Tensor, task: int) -> Tensor:
    """What the classifier of the task's start says of one sample: its values in a model of their own."""
    model = deepcopy(learner.model)
    with torch.no_grad():
        for name, value in model.stored().items():
            value.copy_(state.old[name])
        return model(x[None], task)[0]


def slow_kept(method: HNETReplay, learner: Learner, old: Tensor, new: Tensor) -> Tensor:
    """One replayed sample's loss, output by output; `old` and `new` are its logits, without outputs that are shut."""
    if method.hard_targets:
        return slow_cross_entropy(new, int(old.argmax()))
    t = method.temperature
    p = (old / t).exp() / (old / t).exp().sum()
    log_q = new / t - (new / t).exp().sum().log()
    return t**2 * sum((p[c] * (p[c].log() - log_q[c]) for c in range(len(p)) if p[c] > 0), torch.zeros(()))


def slow_replay(
    method: HNETReplay, learner: Learner, state: HNETReplayState, draw: Sequence[Answered]
) -> Tensor:
    """The mean over all replayed samples, one forward pass each."""
    each = []
    head = learner.model.head
    assert head is not None
    earlier, seen = 2 * learner.task, 2 * learner.task + 2  # classes of SPLIT are in the order of their ids
    for answered in draw:
        for x in answered.x:
            new, old = learner.model(x[None], answered.task)[0], slow_old(learner, state, x, answered.task)
            if head.kind == "shared":
                new, old = new[:seen], old[:seen].clone()
                padded = method.new_classes == "logit" and not method.hard_targets
                old[earlier:] = 0 if padded else -torch.inf
            each.append(slow_kept(method, learner, old, new))
    return torch.stack(each).mean()


def slow_loss(
    method: HNETReplay, learner: Learner, state: HNETReplayState, draw: Any
) -> tuple[Tensor, Tensors]:
    batch, head = make_batch(learner), learner.model.head
    assert head is not None
    width = 2 * learner.task + 2 if head.kind == "shared" else None
    rows = learner.model(batch.x, batch.task)[:, :width]
    own = torch.stack([slow_cross_entropy(r, int(t)) for r, t in zip(rows, batch.target, strict=True)]).mean()
    share = method.replay.share
    return slow_gradients(learner, (1 - share) * own + share * slow_replay(method, learner, state, draw))


@pytest.mark.parametrize("task", [1, 2])
@pytest.mark.parametrize(
    "changed", [{}, {"hard_targets": True}, {"new_classes": "probability"}, {"temperature": 1.0}]
)
@pytest.mark.parametrize("head", HEADS)
def test_a_step_equals_the_written_out_loss(head: Any, changed: dict[str, Any], task: int) -> None:
    method = replace(METHOD, **changed)
    learner = learner_of(method, head=head, task=task)
    state = state_of(method, learner)
    draw = drawn(method, state, learner)
    found = loss_and_gradients(method, learner, state, make_batch(learner), draw)
    assert_same(found, slow_loss(method, learner, state, draw), tol=1e-5)


def test_networks_that_mix_samples_see_the_batch_by_itself() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6))
    learner = learner_of(METHOD, net=net)
    state = state_of(METHOD, learner)
    batch, draw = make_batch(learner), drawn(METHOD, state, learner)
    _, aux = METHOD.loss(Net(learner.model), state, batch, draw)
    assert aux.logits is not None
    torch.testing.assert_close(aux.logits, learner.model(batch.x, 1).detach())


def test_heads_of_different_width_are_replayed_each_by_itself() -> None:
    learner = learner_of(METHOD, head="sliced", classes=UNEVEN, task=2)
    state = state_of(METHOD, learner)
    draw = drawn(METHOD, state, learner)
    assert [a.teacher.shape for a in draw] == [(3, 2), (3, 3)]
    value, _ = METHOD.loss(Net(learner.model), state, make_batch(learner), draw)
    torch.testing.assert_close(
        value, 0.3 * slow_replay(METHOD, learner, state, draw), rtol=1e-5, atol=1e-6
    )  # the last task has one class: nothing to tell apart


# ---------------------------------------------------------------------------------------------- what is replayed


def test_equal_shares_of_all_earlier_tasks_as_many_as_the_batch_has() -> None:
    learner = learner_of(METHOD, task=2)
    [shared] = drawn(METHOD, state_of(METHOD, learner), learner, size=7)
    assert (shared.task, shared.x.shape) == (2, (8, 1, 4, 4))
    learner = learner_of(METHOD, task=2, head="sliced")
    draw = drawn(METHOD, state_of(METHOD, learner), learner, size=7)
    assert [(a.task, len(a.x)) for a in draw] == [(0, 4), (1, 4)]


def test_new_classes_have_the_logit_or_the_probability_0_in_the_old_answer() -> None:
    learner = learner_of(METHOD, task=1)
    state = state_of(METHOD, learner)
    assert state.seen.tolist() == [True] * 4 + [False] * 2
    assert state.earlier.tolist() == [True] * 2 + [False] * 4
    [absent] = drawn(replace(METHOD, new_classes="probability"), state, learner)
    assert not absent.teacher.softmax(1)[:, 2:].any()
    [padded] = drawn(METHOD, state, learner)
    assert not padded.teacher[:, 2:4].any() and not padded.teacher.softmax(1)[:, 4:].any()
    assert torch.equal(absent.teacher[:, :2], padded.teacher[:, :2])
    [label] = drawn(replace(METHOD, hard_targets=True), state, learner)
    assert torch.equal(label.teacher, absent.teacher)


def test_written_weights_are_replayed_task_by_task() -> None:
    """Any weights will do, and those that differ by task may share a head."""
    learner = learner_on("hyper", tasks=3, head="shared")
    learner.models |= METHOD.extra_models(make_stream(), 0)
    for task in range(3):
        learner.models["vae"].begin_task(generator(0, "vae", task))
    learner.phase = Phase("classifier")
    state = state_of(METHOD, learner)
    draw = drawn(METHOD, state, learner)
    assert [(a.task, len(a.x)) for a in draw] == [(0, 3), (1, 3)]
    assert all(not a.teacher[:, 4:].any() and a.teacher[:, :4].all() for a in draw)
    found = loss_and_gradients(METHOD, learner, state, make_batch(learner), draw)
    assert_same(found, slow_loss(METHOD, learner, state, draw), tol=1e-5)


def test_the_teacher_is_the_classifier_before_the_task() -> None:
    learner = learner_of(METHOD, task=1)
    state = state_of(METHOD, learner)
    [first] = drawn(METHOD, state, learner)
    with torch.no_grad():
        for value in learner.model.parameters():
            value += 1
    [second] = drawn(METHOD, state, learner)
    assert torch.equal(first.teacher, second.teacher)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_nothing_is_replayed_in_the_first_task_or_without_a_share(share: float) -> None:
    method = replace(METHOD, replay=replace(METHOD.replay, share=share))
    learner = learner_of(method, task=0 if share else 1, head="sliced")
    state = state_of(method, learner)
    assert not state.old
    assert drawn(method, state, learner) == ()
    batch = make_batch(learner)
    assert_same(loss_and_gradients(method, learner, state, batch, ()), finetune_gradients(learner, batch))


def test_the_autoencoder_trains_after_the_classifier() -> None:
    learner = learner_of(METHOD, task=1)
    assert [(p.name, p.model) for p in METHOD.phases(learner)] == [("classifier", "main"), ("vae", "vae")]
    state, batch = state_of(METHOD, learner), make_batch(learner)
    learner.phase = METHOD.phases(learner)[1]
    draw = METHOD.draw(state, learner, batch, generator(0))
    assert isinstance(draw, VAEDraw)
    _, aux = METHOD.loss(Net(learner.models["vae"]), state, batch, draw)
    assert set(aux.terms) == {"reconstruction", "kl"}


# --------------------------------------------------------------------------------------------------- whole runs

SHORT: dict[str, Any] = {"train.iterations": 60, "train.threads": 1, "net.hidden": [50], "optimizer.lr": 3e-3}
SMALL: dict[str, Any] = {
    "method.replay.vae.encoder": [50],
    "method.replay.vae.decoder": [50],
    "method.replay.vae.latent": 10,
    "method.replay.vae.code": 5,
    "method.replay.generator.chunk": 1000,
    "method.replay.iterations": 100,
}


def run_of(*words: str, approach: str = "hnet-replay") -> Fit:
    extra = SHORT | SMALL if approach == "hnet-replay" else SHORT
    return build(resolve("split-digits", approach, words, extra))


def finished(run: Fit) -> list[Event]:
    return list(run)


def accuracy(run: Fit, scenario: str) -> float:
    row = run.records.rows[scenario][-1]
    return sum(value for value in row if value is not None) / len(row)


def test_digits_are_told_apart_without_the_task_and_far_better_than_by_finetuning() -> None:
    run, plain = run_of("stream.tasks=3"), run_of("stream.tasks=3", approach="finetune")
    finished(run)
    finished(plain)
    assert accuracy(run, "class") > accuracy(plain, "class") + 0.4
    assert accuracy(run, "task") > 0.95


def test_drift_vae_is_what_keeps_the_decoders() -> None:
    moved = []
    for penalty in ("drift_vae.beta=1", "drift_vae=none"):
        run, first = (
            run_of("stream.tasks=2", "train.iterations=2", "method.replay.iterations=60", penalty),
            {},
        )
        for event in run:
            if isinstance(event, TaskEnded) and event.task == 0:
                first = decoder(run, 0)
        moved.append(sum(float((value - first[n]).square().sum()) for n, value in decoder(run, 0).items()))
    assert 0 < 10 * moved[0] < moved[1]


def decoder(run: Fit, task: int) -> Tensors:
    """The decoder's weights for a task."""
    return {name: value.detach() for name, value in run.learner.models["vae"].written([task]).items()}
