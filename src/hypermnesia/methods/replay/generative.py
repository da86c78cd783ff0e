"""Replay of generated samples: a variational autoencoder whose decoder a hypernetwork writes for each task.

The decoder of an earlier task is held by the drift penalty, as any generated weights are, so its images can be drawn
again without storing one (von Oswald et al. 2020, arXiv:1906.00695, section 3).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from hypermnesia.core.declared import Checked, Count, Probability
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import derive, generator, some
from hypermnesia.core.tensors import under_prefix
from hypermnesia.data import Stream
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.nets.vae import VAE, VAEOptions
from hypermnesia.weights.hypernets.chunked import ChunkedOptions
from hypermnesia.weights.model import Model, Role

MODEL = "vae"
"""Name of the autoencoder among a learner's models."""
WRITER = ChunkedOptions(
    chunk=50000, embedding=96, chunk_embedding=96, hidden=(10, 10), activation="elu", init="xavier"
)
"""The decoder's hypernetwork of the published Split-MNIST runs."""


@dataclass(frozen=True, kw_only=True)
class GenerativeOptions(Checked, section="replay"):
    """What is replayed, and what draws it."""

    share: Probability = 0.5
    """Weight r of replayed samples in a loss (1 − r) · current + r · replayed, at least 0 and below 1
    (published 0.5)."""
    tasks_per_step: Count = 10
    """At most so many earlier tasks, drawn anew in each step, are replayed in it, ≥ 1; each by an equal share of as
    many samples as the batch has (rounded up). Published: all of them."""
    iterations: Count | None = None
    """Steps of the autoencoder per task, ≥ 1; none = as many as everything else (published)."""
    vae: VAEOptions = VAEOptions()
    """The autoencoder. Its encoder is one plain network for all tasks: it only serves training."""
    generator: ChunkedOptions = WRITER
    """The chunked hypernetwork that writes the decoder."""

    def build(self, stream: Stream, seed: int) -> Model:
        """The autoencoder as a model without tasks: encoder shared, decoder generated."""
        if len(stream.shape) != 3:
            raise HypermnesiaError(
                f"generative replay draws images (C, H, W), but samples of {stream.name} have the shape "
                f"{tuple(stream.shape)}"
            )
        if self.generator.condition != "free":
            raise HypermnesiaError(
                f"replay.generator.condition={self.generator.condition}: the generator of the autoencoder keeps free embeddings, "
                "which no samples are read for; leave it out"
            )
        if 0 < self.vae.code < len(stream.tasks):
            raise HypermnesiaError(
                f"vae.code={self.vae.code} inputs cannot name the {len(stream.tasks)} tasks of {stream.name}: "
                "give one for each task or more, or 0 for no code"
            )
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, MODEL))
            vae = self.vae.build(stream.shape)
        roles: dict[str, Role] = {
            name: "generated" if name.startswith("decoder.") else "shared"
            for name, _ in vae.named_parameters()
        }
        shapes = {name: value.shape for name, value in vae.named_parameters() if roles[name] == "generated"}
        writer = self.generator.fitted(shapes).build(shapes, generator(seed, MODEL, "generator"))
        return Model(vae, None, roles, writer)

    def phase(self) -> Phase:
        """The training of the autoencoder on the current task. The last one is no exception: more may come later."""
        return Phase(MODEL, model=MODEL, iterations=self.iterations)


# ------------------------------------------------------------------------------------------ training the autoencoder


@dataclass(frozen=True)
class VAEDraw:
    """Of one step of the autoencoder."""

    noise: Tensor
    """(B, latent) from N(0, 1)."""
    code: Tensor
    """(code,) the task's."""


def draw_noise(learner: Learner, options: GenerativeOptions, batch: Batch, rng: torch.Generator) -> VAEDraw:
    """The random numbers of one step of the autoencoder."""
    noise = torch.randn(len(batch.y), options.vae.latent, generator=rng).to(learner.device)
    return VAEDraw(noise, codes((batch.task,), options.vae.code, learner.device)[0])


def vae_loss(net: Net, batch: Batch, draw: VAEDraw) -> tuple[Tensor, Aux]:
    """Binary cross-entropy, a mean over samples and pixels, + KL(q(z | x) ‖ N(0, I)) / pixels, a mean over samples.

    What it is fed are the raw images as fractions 0..1, whatever the stream's normalisation.
    """
    x = batch.raw.flatten(1).float() / 255
    logits, mean, log_variance = net(x, batch.task, draw.noise, draw.code)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
    kl = divergence / x.shape[1]
    return reconstruction + kl, Aux({"reconstruction": reconstruction.detach(), "kl": kl.detach()})


# ----------------------------------------------------------------------------------------------------------- replay


@dataclass(frozen=True)
class Generated:
    """Samples drawn from the autoencoder, in equal shares of n for each of T earlier tasks."""

    tasks: tuple[int, ...]
    x: Tensor
    """(T, n, …) network input."""


@torch.no_grad()
def dream(learner: Learner, options: GenerativeOptions, count: int, rng: torch.Generator) -> Generated | None:
    """At least `count` samples of earlier tasks, preprocessed and augmented as real ones; None in the first task."""
    tasks = some(learner.task, options.tasks_per_step, rng)
    if not tasks:
        return None
    share = -(-count // len(tasks))
    noise = torch.randn(len(tasks), share, options.vae.latent, generator=rng).to(learner.device)
    raw = 255 * sample(learner.models[MODEL], tasks, noise, options.vae.code).view(-1, *learner.shape)
    x = learner.preprocess(raw, rng)
    return Generated(tuple(tasks), x.view(len(tasks), share, *x.shape[1:]))


def sample(model: Model, tasks: list[int], noise: Tensor, code: int) -> Tensor:
    """Pixels in 0..1, (T, n, pixels), that the decoders of T tasks make of `noise` (T, n, latent).

    One batched pass writes all decoders, another runs them.
    """
    vae = model.target
    assert isinstance(vae, VAE)
    weights = under_prefix("decoder.", model.written(tasks))

    def decode(own: dict[str, Tensor], z: Tensor, code: Tensor) -> Tensor:
        return functional_call(vae.decoder, own, (vae.inputs(z, code),))

    return vmap(decode)(weights, noise, codes(tasks, code, noise.device)).sigmoid()


def codes(tasks: tuple[int, ...] | list[int], size: int, device: torch.device) -> Tensor:
    """(T, size): each task's one-hot code; (T, 0) where there is none."""
    if not size:
        return torch.zeros(len(tasks), 0, device=device)
    return F.one_hot(torch.tensor(tasks), size).float().to(device)
