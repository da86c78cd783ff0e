import pytest
import torch

from hypermnesia.core.tensors import count, under_prefix
from hypermnesia.nets.vae import VAEOptions

MNIST = (1, 28, 28)
SMALL = VAEOptions(encoder=(6,), decoder=(7, 5), latent=3, code=4)


@pytest.mark.parametrize(
    ("options", "shape", "encoder", "decoder"),
    [
        (VAEOptions(), MNIST, 554_600, 413_284),  # HNET+R on Split MNIST
        (VAEOptions(decoder=(50, 150)), MNIST, 554_600, 136_084),  # HNET+TIR
        (VAEOptions(encoder=(1000, 1000), decoder=(400, 400)), (1, 32, 32), 2_226_200, 651_424),
    ],
)
def test_published_sizes(
    options: VAEOptions, shape: tuple[int, int, int], encoder: int, decoder: int
) -> None:
    state = options.build(shape).state_dict()
    assert count(under_prefix("encoder.", state)) == encoder
    assert count(under_prefix("decoder.", state)) == decoder


def test_equals_matrix_products() -> None:
    net = SMALL.build((2, 3, 3))
    x, noise, code = torch.rand(5, 2, 3, 3), torch.randn(5, 3), torch.tensor([0.0, 0, 1, 0])
    w = {name: torch.randn_like(value) for name, value in net.state_dict().items()}
    net.load_state_dict(w)
    hidden = (x.reshape(5, 18) @ w["encoder.layer1.linear.weight"].T + w["encoder.layer1.linear.bias"]).relu()
    encoded = hidden @ w["encoder.head.weight"].T + w["encoder.head.bias"]
    mean, log_variance = encoded[:, :3], encoded[:, 3:]
    h = torch.cat([mean + log_variance.exp().sqrt() * noise, code.repeat(5, 1)], 1)
    for layer in ("layer1", "layer2"):
        h = (h @ w[f"decoder.{layer}.linear.weight"].T + w[f"decoder.{layer}.linear.bias"]).relu()
    pixels = h @ w["decoder.head.weight"].T + w["decoder.head.bias"]
    for found, expected in zip(net(x, noise, code), (pixels, mean, log_variance), strict=True):
        torch.testing.assert_close(found, expected)


def test_without_a_code_the_decoder_takes_the_latent_alone() -> None:
    net = VAEOptions(encoder=(6,), decoder=(7,), latent=3, code=0).build(MNIST)
    assert net.state_dict()["decoder.layer1.linear.weight"].shape == (7, 3)
    assert net(torch.rand(2, *MNIST), torch.randn(2, 3), torch.zeros(0))[0].shape == (2, 784)


def test_starts_with_xavier_weights_and_zero_biases() -> None:
    state = VAEOptions().build(MNIST).state_dict()
    for name, value in state.items():
        if value.ndim == 1:
            assert not value.any(), name
        else:
            bound = (6 / sum(value.shape)) ** 0.5
            assert 0.95 * bound < value.abs().max() <= bound, name
    assert VAEOptions(init="default").build(MNIST).state_dict()["encoder.head.bias"].any()
