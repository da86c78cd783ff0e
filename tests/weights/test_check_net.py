"""Which modules can be called with other parameters than their own, and what is said of the others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.weights.check_net import try_out

SHAPE = (1, 4, 4)


class Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.squeeze(1))[0][:, -1])


class Attentive(nn.Module):
    """Its encoder has a fast path in evaluation mode, which reads weights by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.squeeze(1)).mean(1))


class Answer(dict):
    """What models of transformers return: an object with `logits`."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


class Changed(nn.Module):
    """A linear network whose forward does something odd at the end."""

    def __init__(self, change: Callable[["Changed", Tensor], object]) -> None:
        super().__init__()
        self.flat, self.head, self.change = nn.Flatten(), nn.Linear(16, 3), change
        self.kept = [self.head.weight]

    def forward(self, x: Tensor) -> object:
        return self.change(self, self.flat(x))


def linear(wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), wrap(nn.Linear(16, 3)))


@pytest.mark.parametrize(
    "net",
    [
        linear(),
        linear(weight_norm),
        linear(spectral_norm),
        Recurrent(),
        Attentive(),
        nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)),
        Changed(lambda net, x: Answer(logits=net.head(x))),
    ],
    ids=lambda net: type(net).__name__,
)
def test_networks_that_do(net: nn.Module):
    try_out(net, SHAPE, 3)


def test_tokens():
    try_out(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(24, 3)), (6,), 3, torch.int64)


def test_the_network_stays_as_it_was():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    net[0].eval()
    net[3].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    noise = torch.get_rng_state()
    try_out(net, SHAPE, 3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net] == [False, True, True, True]
    assert [p.requires_grad for p in net.parameters()] == [True, True, True, False]
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(noise, torch.get_rng_state())


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (
            Changed(lambda net, x: x @ net.kept[0].T + net.head.bias),
            r"^Changed goes on using its own head\.weight when it is called with other values: some module keeps a ref",
        ),
        (
            Changed(lambda net, x: net.head(x).detach()),
            r"^Changed: no gradient reaches its parameters; is its forward under torch\.no_grad, or detached\?$",
        ),
        (
            Changed(lambda net, x: x[:, :3] * nn.Parameter(torch.ones(3))),
            r"^Changed: its logits depend on none of its parameters$",
        ),
        (
            Changed(lambda net, x: (net.head(x), x)),
            r"^Changed returned tuple, expected a tensor of logits \(B, outputs\); wrap it in a module whose forward",
        ),
        (
            Changed(lambda net, x: net.head(x)[0]),
            r"^Changed returned shape \(3,\) for a batch of 2, expected logits of shape \(2, 3\): build it with 3 out",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3)),
            r"^Sequential cannot be called on a batch of shape \(2, 1, 4, 4\) \(torch\.float32\): RuntimeError: ",
        ),
        (nn.Flatten(), r"^Flatten has no floating-point parameters: there is nothing to learn in it$"),
        (
            nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
            r"^Sequential: 1\.weight has no shape yet \(a lazy layer\): call the network once on a batch, t",
        ),
        (
            linear().to("meta"),
            r"^Sequential: 1\.weight has no values \(it lies on the meta device\): load them first\. A network whose w",
        ),
        (
            nn.DataParallel(linear()),
            r"^DataParallel spreads a network over devices: pass the one within, net\.module$",
        ),
    ],
)
def test_networks_that_do_not(net: nn.Module, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        try_out(net, SHAPE, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript():
    script = torch.jit.trace(linear(), torch.zeros(1, *SHAPE))
    assert isinstance(script, nn.Module)
    with pytest.raises(
        HypermnesiaError, match="is TorchScript, which has its parameters built in: pass the nn.Module"
    ):
        try_out(script, SHAPE, 3)
