"""HNET+TIR: the network that tells the task, and the phases around it."""

from typing import Any

import pytest
import torch
from methods.helpers import (
    assert_same,
    finetune_gradients,
    loss_and_gradients,
    make_batch,
    make_stream,
    slow_cross_entropy,
    slow_gradients,
)
from methods.regularisation_helpers import learner_on
from torch import Tensor
from torch.func import grad, stack_module_state, vmap

from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.hnet_tir import HNETTIR
from hypermnesia.methods.learner import Batch, Learner, Net
from hypermnesia.methods.replay.generative import Generated, GenerativeOptions, VAEDraw
from hypermnesia.nets.mlp import MLPOptions
from hypermnesia.nets.vae import VAEOptions
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.weights.hypernets.chunked import ChunkedOptions

METHOD = HNETTIR(
    inference=MLPOptions(hidden=(8,), activation="tanh", init="xavier"),
    replay=GenerativeOptions(
        share=0.3,
        vae=VAEOptions(encoder=(6,), decoder=(5,), latent=3, code=4),
        generator=ChunkedOptions(chunk=40, embedding=3, chunk_embedding=2, hidden=(4,)),
    ),
)


def learner_of(task: int, phase: str, seed: int = 0) -> Learner:
    """A learner with all the models of the method, `main` on generated weights, in one of its phases."""
    learner = learner_on("hyper", tasks=task + 1)
    learner.models |= METHOD.extra_models(make_stream(), seed)
    for name in ("inference", "vae"):
        for begun in range(task + 1):
            learner.models[name].begin_task(generator(seed, name, begun))
    [learner.phase] = [p for p in METHOD.phases(learner) if p.name == phase]
    learner.models[learner.phase.model].trainable()
    return learner


def focused(learner: Learner) -> Learner:
    """The same learner with the phase's model in the place that the helpers look at."""
    learner.models = {"main": learner.models[learner.phase.model]}
    return learner


def drawn(learner: Learner, batch: Batch) -> Generated:
    draw = METHOD.draw(None, learner, batch, generator(0, "draw"))
    assert isinstance(draw, Generated)
    return draw


def test_each_model_has_its_phase_and_the_first_task_nothing_to_tell_apart() -> None:
    found = [[(p.name, p.model) for p in METHOD.phases(learner_on("hyper", tasks=t))] for t in (1, 2, 3)]
    classifier, guess, vae = ("classifier", "main"), ("inference", "inference"), ("vae", "vae")
    assert found == [[classifier, vae], [classifier, guess, vae], [classifier, guess, vae]]


def test_the_classifier_learns_by_cross_entropy_alone() -> None:
    learner = learner_of(1, "classifier")
    batch = make_batch(learner)
    assert METHOD.draw(None, learner, batch, generator(0)) is None
    found = loss_and_gradients(METHOD, learner, None, batch, None)
    assert_same(found, finetune_gradients(learner, batch))


@pytest.mark.parametrize("task", [1, 2])
def test_the_guess_learns_the_tasks_of_real_and_replayed_samples(task: int) -> None:
    learner = learner_of(task, "inference")
    batch = make_batch(learner, size=7)
    dreams = drawn(learner, batch)
    assert dreams.x.shape[:2] == (task, 7 if task == 1 else 4)
    network = learner.models["inference"]
    own = [slow_cross_entropy(network(x[None], 0)[0, : task + 1], task) for x in batch.x]
    old = [
        slow_cross_entropy(network(x[None], 0)[0, : task + 1], j)
        for j, share in enumerate(dreams.x)
        for x in share
    ]
    value = 0.7 * torch.stack(own).mean() + 0.3 * torch.stack(old).mean()
    learner = focused(learner)
    found = loss_and_gradients(METHOD, learner, None, batch, dreams)
    assert_same(found, slow_gradients(learner, value), tol=1e-5)


def test_the_autoencoder_trains_in_its_phase() -> None:
    learner = learner_of(1, "vae")
    batch = make_batch(learner)
    draw = METHOD.draw(None, learner, batch, generator(0))
    assert isinstance(draw, VAEDraw)
    _, aux = METHOD.loss(Net(learner.models["vae"]), None, batch, draw)
    assert set(aux.terms) == {"reconstruction", "kl"}


def test_the_inference_network_stacks() -> None:
    learners = [learner_of(2, "inference", seed) for seed in (0, 1)]
    batch = make_batch(learners[0])
    draws = [drawn(learner, batch) for learner in learners]
    models = [learner.models["inference"] for learner in learners]
    params, _ = stack_module_state(models)

    def value(params: Tensors, x: Tensor) -> Tensor:
        return METHOD.loss(Net(models[0], params), None, batch, Generated(draws[0].tasks, x))[0]

    stacked = {name: p.detach() for name, p in params.items()}
    together = vmap(grad(value))(stacked, torch.stack([d.x for d in draws]))
    for i, learner in enumerate(map(focused, learners)):
        _, alone = loss_and_gradients(METHOD, learner, None, batch, draws[i])
        for name, gradient in alone.items():
            torch.testing.assert_close(together[name][i], gradient, rtol=1e-4, atol=1e-6)


def test_the_last_phase_of_a_task_leaves_the_other_models_as_they_are() -> None:
    learner = learner_of(1, "inference")
    batch = make_batch(learner)
    dreams = drawn(learner, batch)
    value, _ = METHOD.loss(Net(learner.models["inference"]), None, batch, dreams)
    value.backward()
    for name in ("main", "vae"):
        assert all(p.grad is None for p in learner.models[name].parameters())


# --------------------------------------------------------------------------------------------------- whole runs

SHORT: dict[str, Any] = {
    "train.iterations": 60,
    "train.threads": 1,
    "net.hidden": [50],
    "optimizer.lr": 3e-3,
    "weights.head": "sliced",
}
SMALL: dict[str, Any] = {
    "generator.chunk": 1000,
    "generator.hidden": [20],
    "method.inference.hidden": [50],
    "method.replay.vae.encoder": [50],
    "method.replay.vae.decoder": [50],
    "method.replay.vae.latent": 10,
    "method.replay.vae.code": 5,
    "method.replay.generator.chunk": 1000,
    "method.replay.iterations": 100,
}


def run_of(*words: str) -> Fit:
    return build(resolve("split-digits", "hnet-tir", words, SHORT | SMALL))


def test_digits_are_told_apart_without_the_task() -> None:
    run = run_of("stream.tasks=3")
    for _ in run:
        pass
    found = [row for row in run.records.rows["class"][-1] if row is not None]
    assert sum(found) / 3 > 0.8


def test_both_penalties_hold_their_own_model_and_have_their_own_options() -> None:
    run = run_of("drift.beta=7", "drift_vae.beta=3", "stream.tasks=3", "train.iterations=2")
    penalties = {p.holds: p.beta for p in run.method.penalties}  # pyright: ignore[reportAttributeAccessIssue]
    assert penalties == {"main": 7, "vae": 3}
    held = {}
    for event in run:
        if isinstance(event, StepDone) and event.task == 1 and event.step == 2:
            held[event.phase] = set(event.terms)
    assert held == {
        "classifier": {"cross_entropy", "drift"},
        "inference": {"cross_entropy", "replay"},
        "vae": {"reconstruction", "kl", "drift"},
    }
