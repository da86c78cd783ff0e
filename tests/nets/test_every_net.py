"""What holds for every network of the registry: one row each."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config.schema import docs_of
from hypermnesia.nets import (
    NETS,
    BottleneckOptions,
    ConvNetOptions,
    LeNetOptions,
    MLPOptions,
    NetOptions,
    ResNet18Options,
    ResNetOptions,
    Shape,
    TextTransformerOptions,
    ViTOptions,
    WideResNetOptions,
    ZenkeNetOptions,
    classifier,
    run,
    stages,
)

GRAY: Shape = (1, 16, 16)
WORDS: Shape = (10,)

SMALL: dict[str, NetOptions] = {
    "mlp": MLPOptions(hidden=(12, 8)),
    "bottleneck": BottleneckOptions(width=5),
    "lenet": LeNetOptions(variant="small"),
    "zenkenet": ZenkeNetOptions(dropout=0.0, dropout2d=0.0),
    "zenkenet-tiny": ZenkeNetOptions(variant="tiny", dropout2d=0.0),
    "convnet": ConvNetOptions(width=4, blocks=3),
    "resnet18": ResNet18Options(width=4),
    "resnet": ResNetOptions(depth=8, widths=(4, 4, 6, 8)),
    "resnet-projection": ResNetOptions(depth=8, widths=(4, 4, 6, 8), shortcut="projection"),
    "wide-resnet": WideResNetOptions(depth=10, widening=1),
    "vit": ViTOptions(width=16, heads=2, depth=2),
    "text-transformer": TextTransformerOptions(vocabulary=50, width=16, heads=2, depth=2),
}
"""Small networks of every kind, without dropout: its noise would tell two ways to the same number apart."""

IMAGES = {name: options for name, options in SMALL.items() if name != "text-transformer"}

every_net = pytest.mark.parametrize("options", SMALL.values(), ids=SMALL.keys())
every_net_of_images = pytest.mark.parametrize("options", IMAGES.values(), ids=IMAGES.keys())


def built(options: NetOptions, seed: int = 0, shape: Shape | None = None, outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return options.build(shape or shape_for(options), outputs)


def shape_for(options: NetOptions) -> Shape:
    return WORDS if isinstance(options, TextTransformerOptions) else GRAY


def samples(options: NetOptions, count: int) -> Tensor:
    """Images, or texts that end in padding and hold ids beyond the network's table."""
    if not isinstance(options, TextTransformerOptions):
        return images(count)
    x = torch.randint(1, 80, (count, *WORDS), generator=torch.Generator().manual_seed(0))
    x[:, -2:] = 0
    return x


def doubled(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def images(count: int, shape: Shape = GRAY, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_every_net_has_a_row():
    assert {type(options) for options in SMALL.values()} == set(NETS.values())


@every_net
def test_forward_is_its_stages_in_turn_and_ends_in_the_head(options: NetOptions):
    net = built(options).eval()
    x = samples(options, 2)
    by_hand = x
    for stage in stages(net):
        by_hand = getattr(net, stage)(by_hand)
    assert torch.equal(net(x), by_hand)
    assert by_hand.shape == (2, 3)
    assert stages(net)[-1] == classifier(net) == "head"
    features = run(net, x, last=stages(net)[-2])
    assert features.shape == (2, net.get_submodule("head").in_features)


@every_net
def test_every_parameter_belongs_to_a_stage_and_is_used(options: NetOptions):
    net = built(options)
    assert {name.partition(".")[0] for name, _ in net.named_parameters()} <= set(stages(net))
    net(samples(options, 4)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@every_net
def test_evaluation_is_independent_of_the_batch(options: NetOptions):
    net = built(options).double()
    x = doubled(samples(options, 6))
    for _ in range(3):  # moves running statistics away from their start
        net(x * 2 + 1)
    net.eval()
    whole = net(x)
    torch.testing.assert_close(net(x[:1]), whole[:1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(net(torch.cat([x[2:4], 50 * x[:1]]))[:2], whole[2:4], rtol=1e-9, atol=1e-12)


@every_net
def test_stacked_networks_equal_single_ones(options: NetOptions):
    """Training mode: logits, gradients, and the running statistics that the forward pass moves."""
    nets = [built(options, seed).double() for seed in (0, 1)]
    x = doubled(samples(options, 8)).unflatten(0, (2, 4))
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor):
        logits = functional_call(skeleton, (params, buffers), (x,))
        return logits.square().mean(), (logits, buffers)

    params, buffers = stack_module_state(nets)
    params = {name: value.detach() for name, value in params.items()}
    buffers = {name: value.clone() for name, value in buffers.items()}
    gradients, (logits, moved) = vmap(grad(loss, has_aux=True))(params, buffers, x)
    for i, net in enumerate(nets):
        alone = net(x[i])
        torch.testing.assert_close(logits[i], alone)
        alone.square().mean().backward()
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad)
        for name, buffer in net.named_buffers():
            torch.testing.assert_close(moved[name][i], buffer)


@every_net
def test_gradients_of_gradients(options: NetOptions):
    """The second-order look-ahead differentiates through a gradient."""
    net = built(options).double()
    params = {name: value.detach() for name, value in net.named_parameters()}
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    x = doubled(samples(options, 2))

    def loss(params: dict[str, Tensor]) -> Tensor:
        fresh = {name: value.clone() for name, value in buffers.items()}
        return functional_call(net, (params, fresh), (x,)).square().mean()

    def slope(params: dict[str, Tensor]) -> Tensor:
        """Squared length of the gradient with respect to the head."""
        return grad(loss)(params)["head.weight"].square().sum()

    direction = {name: torch.zeros_like(value) for name, value in params.items()}
    first = next(iter(params))
    direction[first] = torch.randn(params[first].shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-8  # small, lest a ReLU or a maximum switches on the way
    ahead = {name: value + step * direction[name] for name, value in params.items()}
    behind = {name: value - step * direction[name] for name, value in params.items()}
    numeric = (slope(ahead) - slope(behind)) / (2 * step)
    exact = (grad(slope)(params)[first] * direction[first]).sum()
    torch.testing.assert_close(exact, numeric, rtol=1e-3, atol=1e-6)


@every_net_of_images
@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 24, 32)], ids=str)
def test_takes_any_reasonable_image(options: NetOptions, shape: Shape):
    net = built(options, shape=shape, outputs=7).eval()
    assert net(images(2, shape)).shape == (2, 7)


@pytest.mark.parametrize(
    "name", [name for name in IMAGES if name not in ("lenet", "zenkenet", "zenkenet-tiny")]
)
def test_takes_digits_of_8_pixels(name: str):
    shape = (1, 8, 8)
    assert built(SMALL[name], shape=shape).eval()(images(2, shape)).shape == (2, 3)


@every_net
def test_same_seed_same_weights(options: NetOptions):
    first, again, other = (built(options, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.parametrize("name", NETS)
def test_every_option_is_documented_and_has_a_default(name: str):
    options = NETS[name]
    assert {field.name for field in dataclasses.fields(options)} <= docs_of(options).keys()
    assert options() == options()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options(), dataclasses.fields(options)[0].name, None)


@pytest.mark.parametrize("name", NETS)
def test_no_shape_and_no_outputs(name: str):
    with pytest.raises(HypermnesiaError, match=rf"outputs of {name}=0: expected a whole number, at least 1"):
        NETS[name]().build(WORDS if name == "text-transformer" else (3, 32, 32), 0)
    expected = r"expected a tuple of 3 whole numbers, at least 1 each"
    if name == "text-transformer":
        expected = r"takes texts, and these samples are images of shape \(32, 32\): take net=vit"
    with pytest.raises(HypermnesiaError, match=expected):
        NETS[name]().build((32, 32), 10)


@pytest.mark.parametrize("name", sorted(set(NETS) - {"text-transformer", "mlp", "bottleneck"}))
def test_texts_and_vectors_are_refused_by_networks_for_images(name: str):
    said = r"takes images, and these samples have the shape \(10,\): take net=text-transformer for texts, mlp for vectors"
    with pytest.raises(HypermnesiaError, match=said):
        NETS[name]().build(WORDS, 3)
