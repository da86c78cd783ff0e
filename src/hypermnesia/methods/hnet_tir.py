"""HNET+TIR: a classifier that a hypernetwork writes, and a network that tells the task, protected by replay from an
autoencoder that a hypernetwork protects (von Oswald et al. 2020, arXiv:1906.00695)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.rng import derive
from hypermnesia.data import Stream
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Aux, Batch, Learner, Net, Phase
from hypermnesia.methods.replay import generative
from hypermnesia.methods.replay.generative import Generated, GenerativeOptions, VAEDraw
from hypermnesia.nets.mlp import MLPOptions
from hypermnesia.nets.vae import VAEOptions
from hypermnesia.weights.model import Model

INFERENCE = "inference"
"""Name of the task-inference network among a learner's models; `infer.TIR` asks it."""


@dataclass(frozen=True, kw_only=True)
class HNETTIR(Method):
    """Cross-entropy of the classifier; and, in phases of their own, the training of what guesses the task.

    The task-inference network has one output per task and learns the number of the task, of real samples of the
    current one and of replayed samples of all others: (1 − r) · CE(real, t) + r · CE(replayed of j, j), over the
    tasks seen so far. The classifier's weights are held by the penalty `drift`, the autoencoder's decoders by
    `drift_vae`. Evaluation asks the network by `infer=tir`.
    """

    written_models: ClassVar[tuple[str, ...]] = (generative.MODEL,)

    inference: MLPOptions = MLPOptions(init="xavier")
    """The task-inference network, a perceptron: published with the classifier's hidden layers."""
    replay: GenerativeOptions = GenerativeOptions(vae=VAEOptions(decoder=(50, 150)))
    """The replayed samples and the autoencoder that they are drawn from."""

    @property
    def needs_boundaries(self) -> bool:
        return True

    def extra_models(self, stream: Stream, seed: int) -> dict[str, Model]:
        vae = self.replay.build(stream, seed)
        channels, height, width = stream.shape  # the autoencoder has refused anything but images
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, INFERENCE))
            guesses = self.inference.build((channels, height, width), len(stream.tasks))
        return {INFERENCE: Model(guesses, None), generative.MODEL: vae}

    def phases(self, learner: Learner) -> Sequence[Phase]:
        """The first task alone leaves nothing to tell apart."""
        guess = (Phase(INFERENCE, model=INFERENCE),) if learner.task else ()
        return (Phase("classifier"), *guess, self.replay.phase())

    def draw(
        self, state: None, learner: Learner, batch: Batch, rng: torch.Generator
    ) -> Generated | VAEDraw | None:
        if learner.phase.model == generative.MODEL:
            return generative.draw_noise(learner, self.replay, batch, rng)
        if learner.phase.model == INFERENCE:
            return generative.dream(learner, self.replay, len(batch.y), rng)
        return None

    def loss(
        self, net: Net, state: None, batch: Batch, draw: Generated | VAEDraw | None
    ) -> tuple[Tensor, Aux]:
        if isinstance(draw, VAEDraw):
            return generative.vae_loss(net, batch, draw)
        if isinstance(draw, Generated):
            return self._inference_loss(net, batch, draw)
        logits = net(batch.x, batch.task)
        value = F.cross_entropy(logits, batch.target)
        return value, Aux({"cross_entropy": value.detach()}, logits.detach())

    def _inference_loss(self, net: Net, batch: Batch, dreams: Generated) -> tuple[Tensor, Aux]:
        logits = net(torch.cat([batch.x, dreams.x.flatten(0, 1)]), batch.task)[:, : batch.task + 1]
        real, replayed = logits.split([len(batch.y), len(logits) - len(batch.y)])
        own = F.cross_entropy(real, torch.full_like(batch.y, batch.task))
        labels = torch.tensor(dreams.tasks, device=logits.device).repeat_interleave(dreams.x.shape[1])
        old = F.cross_entropy(replayed, labels)
        share = self.replay.share
        terms = {"cross_entropy": own.detach(), "replay": old.detach()}
        return (1 - share) * own + share * old, Aux(terms)
