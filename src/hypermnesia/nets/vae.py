"""Variational autoencoder on flattened images: a network to draw images from, not one to classify them."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from hypermnesia.core.declared import Checked, Count, Counts, Natural
from hypermnesia.nets.mlp import Activation, Init, MLPOptions
from hypermnesia.nets.options import Shape, check_shape


@dataclass(frozen=True, kw_only=True)
class VAEOptions(Checked, section="vae"):
    """Two perceptrons around a Gaussian latent; by default the Split-MNIST HNET+R of von Oswald et al. 2020."""

    encoder: Counts = (400, 400)
    """Units of the encoder's hidden layers (Permuted MNIST: 1000,1000)."""
    decoder: Counts = (250, 350)
    """Units of the decoder's hidden layers (HNET+TIR: 50,150; Permuted MNIST: 400,400)."""
    latent: Count = 100
    """Numbers in a latent vector, at least 1 (published 100)."""
    code: Natural = 100
    """Further inputs of the decoder that name the task, one of them 1 and the others 0, at least 0: an upper bound
    on the number of tasks, or 0 for none (published 100)."""
    activation: Activation = "relu"
    """What follows each hidden layer."""
    init: Init = "xavier"
    """Initial weights. default: torch's. xavier: Xavier-uniform with zero bias (published)."""

    def build(self, shape: Shape) -> "VAE":
        """An autoencoder of images (B, *shape), with weights from torch's global generator."""
        check_shape("vae", shape, 1)
        return VAE(self, shape)


class VAE(nn.Module):
    """Children: `encoder`, from pixels to 2 · latent numbers, and `decoder`, from [latent ; code] to pixel logits.

    The noise of the latent is an input: the network itself draws nothing.
    """

    def __init__(self, options: VAEOptions, shape: Shape) -> None:
        super().__init__()
        pixels, inputs = prod(shape), options.latent + options.code
        self.latent = options.latent
        self.encoder = _perceptron(options, options.encoder, pixels, 2 * options.latent)
        self.decoder = _perceptron(options, options.decoder, inputs, pixels)

    def forward(self, x: Tensor, noise: Tensor, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(pixel logits (B, pixels), mean (B, latent), log of the variance (B, latent)).

        `x` (B, …) are images of values 0..1, `noise` (B, latent) draws from N(0, 1), `code` (code,) the task's.
        """
        mean, log_variance = self.encoder(x.flatten(1)).split(self.latent, dim=1)
        z = mean + noise * (log_variance / 2).exp()
        return self.decoder(self.inputs(z, code)), mean, log_variance

    def inputs(self, z: Tensor, code: Tensor) -> Tensor:
        """What the decoder takes: latents (B, latent) beside the task's code (code,), (B, latent + code)."""
        return torch.cat([z, code.expand(len(z), -1)], dim=1)


def _perceptron(options: VAEOptions, hidden: tuple[int, ...], inputs: int, outputs: int) -> nn.Module:
    own = MLPOptions(hidden=hidden, activation=options.activation, init=options.init)
    return own.build((1, 1, inputs), outputs)
