"""An autoencoder with written decoders: its loss, and what is drawn from it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import make_batch, make_learner, make_stream
from torch.distributions import Normal, kl_divergence
from torch.func import functional_call, stack_module_state

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.core.tensors import Tensors, under_prefix
from hypermnesia.data import Preprocess, Stream, from_tensors, split
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.methods.replay import generative
from hypermnesia.methods.replay.generative import GenerativeOptions, VAEDraw
from hypermnesia.nets.vae import VAE, VAEOptions
from hypermnesia.weights.hypernets.chunked import ChunkedOptions
from hypermnesia.weights.model import Model

OPTIONS = GenerativeOptions(
    vae=VAEOptions(encoder=(6,), decoder=(5,), latent=3, code=4, activation="tanh"),
    generator=ChunkedOptions(chunk=40, embedding=3, chunk_embedding=2, hidden=(4,), init="xavier"),
)
STREAM = make_stream()


class Autoencoding(Method):
    """The autoencoder's loss alone."""

    def loss(self, net: Net, state: None, batch: Batch, draw: VAEDraw) -> tuple[torch.Tensor, Aux]:
        return generative.vae_loss(net, batch, draw)


def vae_model(tasks: int, options: GenerativeOptions = OPTIONS, seed: int = 0) -> Model:
    model = options.build(STREAM, seed)
    for task in range(tasks):
        model.begin_task(generator(seed, "init", task))
    model.trainable()
    return model


def dreamer(task: int, options: GenerativeOptions = OPTIONS) -> Learner:
    """A learner in `task` that has an autoencoder."""
    learner = make_learner(task=task)
    learner.models["vae"] = vae_model(task + 1, options)
    return learner


def test_only_the_decoder_is_written_and_a_task_adds_one_embedding() -> None:
    model = vae_model(1)
    for name, role in model.roles.items():
        assert role == ("generated" if name.startswith("decoder.") else "shared")
    before = set(model.stored())
    model.begin_task(generator(1))
    [added] = set(model.stored()) - before
    assert model.stored()[added].shape == (3,)


def test_the_same_seed_builds_the_same_model_and_another_one_another() -> None:
    first, again, other = (vae_model(1, seed=seed).stored() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["target.encoder.head.weight"], other["target.encoder.head.weight"])
    assert not torch.equal(first["generator.out.weight"], other["generator.out.weight"])


def test_loss_is_the_evidence_bound_divided_by_the_pixels() -> None:
    learner = dreamer(1)
    batch, model = make_batch(learner), learner.models["vae"]
    draw = generative.draw_noise(learner, OPTIONS, batch, generator(0))
    assert torch.equal(draw.code, torch.tensor([0.0, 1, 0, 0]))
    value, aux = generative.vae_loss(Net(model), batch, draw)
    state = model.task_state(1)
    bound = 0.0
    for raw, noise in zip(batch.raw, draw.noise, strict=True):
        x = raw.double().flatten() / 255
        encoded = x @ state["encoder.layer1.linear.weight"].double().T + state["encoder.layer1.linear.bias"]
        mean, log_variance = F.linear(
            encoded.tanh(), state["encoder.head.weight"].double(), state["encoder.head.bias"].double()
        ).split(3)
        latent = Normal(mean, (log_variance / 2).exp())
        z = torch.cat([latent.mean + latent.stddev * noise, draw.code])
        hidden = (
            state["decoder.layer1.linear.weight"].double() @ z + state["decoder.layer1.linear.bias"]
        ).tanh()
        p = (state["decoder.head.weight"].double() @ hidden + state["decoder.head.bias"]).sigmoid()
        bound -= (x * p.log() + (1 - x) * (1 - p).log()).sum()
        bound += kl_divergence(latent, Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(value.double(), bound / (len(batch.y) * 16), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(value, aux.terms["reconstruction"] + aux.terms["kl"])


def test_what_is_fed_does_not_depend_on_the_normalisation() -> None:
    learner = dreamer(0)
    batch = make_batch(learner)
    other = replace(batch, x=5 * batch.x - 1)
    draw = generative.draw_noise(learner, OPTIONS, batch, generator(0))
    net = Net(learner.models["vae"])
    assert torch.equal(generative.vae_loss(net, batch, draw)[0], generative.vae_loss(net, other, draw)[0])


def slow_pixels(model: Model, task: int, z: torch.Tensor, code: int) -> torch.Tensor:
    """(pixels,) of one latent, through a plain decoder with the task's weights loaded."""
    state = under_prefix("decoder.", model.task_state(task))
    one_hot = torch.tensor([float(i == task) for i in range(code)])
    assert isinstance(model.target, VAE)
    return functional_call(model.target.decoder, state, (torch.cat([z, one_hot])[None],))[0].sigmoid()


@pytest.mark.parametrize("code", [4, 0])
def test_samples_equal_a_loop_over_tasks_and_latents(code: int) -> None:
    model = vae_model(4 if code else 6, replace(OPTIONS, vae=replace(OPTIONS.vae, code=code)))
    tasks, noise = [0, 3], torch.randn(2, 5, 3, generator=generator(0))
    found = generative.sample(model, tasks, noise, code)
    assert found.shape == (2, 5, 16)
    assert not torch.allclose(found[0], found[1])
    for row, task in enumerate(tasks):
        for i in range(5):
            torch.testing.assert_close(found[row, i], slow_pixels(model, task, noise[row, i], code))


def test_dreams_are_equal_shares_of_all_earlier_tasks() -> None:
    assert generative.dream(dreamer(0), OPTIONS, 7, generator(0)) is None
    for task, share in ((1, 7), (2, 4), (3, 3)):
        learner = dreamer(task)
        dreams = generative.dream(learner, OPTIONS, 7, generator(0))
        assert dreams is not None
        assert dreams.tasks == tuple(range(task))
        assert dreams.x.shape == (task, share, 1, 4, 4)
        assert not dreams.x.requires_grad
        # The stream's normalisation takes 0..1 to −1..1; the learner's own, applied to the same draw, gives the same.
        noise = torch.randn(task, share, 3, generator=generator(0))
        pixels = generative.sample(learner.models["vae"], list(range(task)), noise, 4)
        torch.testing.assert_close(dreams.x.flatten(2), 2 * pixels - 1, rtol=1e-5, atol=1e-6)


def test_a_step_replays_at_most_so_many_tasks_and_over_time_all() -> None:
    learner, options, rng = dreamer(3), replace(OPTIONS, tasks_per_step=2), generator(0)
    seen = set()
    for _ in range(20):
        dreams = generative.dream(learner, options, 7, rng)
        assert dreams is not None and dreams.x.shape[:2] == (2, 4)
        seen.add(dreams.tasks)
    assert seen == {(0, 1), (0, 2), (1, 2)}


def test_dreams_are_augmented_as_real_images_are() -> None:
    learner = dreamer(1)
    plain = generative.dream(learner, OPTIONS, 8, generator(0))
    learner.preprocess = replace(learner.preprocess, flip=True)
    flipped = generative.dream(learner, OPTIONS, 8, generator(0))
    assert plain is not None and flipped is not None
    mirrored = [bool(torch.equal(f, p.flip(2))) for f, p in zip(flipped.x[0], plain.x[0], strict=True)]
    same = [bool(torch.equal(f, p)) for f, p in zip(flipped.x[0], plain.x[0], strict=True)]
    assert any(mirrored) and any(same) and all(m or s for m, s in zip(mirrored, same, strict=True))


def test_the_autoencoder_trains_on_the_task_for_as_long_as_the_others_or_as_told() -> None:
    assert OPTIONS.phase() == Phase("vae", model="vae", iterations=None)
    assert replace(OPTIONS, iterations=7).phase().iterations == 7


def stacked(models: Sequence[Model]) -> Tensors:
    """The parameters that hold values, of all models along a first axis."""
    params, _ = stack_module_state([torch.nn.ParameterList(m.stored().values()) for m in models])
    return {name: params[str(i)].detach() for i, name in enumerate(models[0].stored())}


def test_bad_settings_say_what_is_allowed() -> None:
    with pytest.raises(HypermnesiaError, match=r"vae\.code=2 inputs cannot name the 3 tasks of"):
        replace(OPTIONS, vae=replace(OPTIONS.vae, code=2)).build(STREAM, 0)
    with pytest.raises(HypermnesiaError, match=r"samples of .* have the shape \(12,\)"):
        OPTIONS.build(tokens(), 0)


def tokens() -> Stream:
    """A stream of token sequences."""
    x, y = torch.zeros(8, 12, dtype=torch.int64), torch.arange(8) % 4
    return replace(split(from_tensors(x, y, x, y), tasks=2, preprocess=Preprocess()))
