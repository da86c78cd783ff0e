from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import MLPOptions, ResNet18Options, classifier, run, section, stages
from hypermnesia.nets.stages import classifier_inputs


class Net(nn.Module):
    """What a user may bring: some children and, perhaps, a declaration."""

    def __init__(self, declared: object = None) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)
        if declared is not None:
            self.stages = declared

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Backwards(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        for module in reversed(self):
            input = module(input)
        return input


def test_declared_stages():
    assert stages(Net(("body", "head"))) == ("body", "head")
    assert stages(Net(["body", "head"])) == ("body", "head")


def test_a_sequential_needs_no_declaration():
    relu = nn.ReLU()
    assert stages(nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu)) == ("0", "1", "2", "3")
    assert stages(nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=relu))) == ("a", "b")


def test_without_a_declaration_children_are_the_stages():
    assert stages(Net()) == ("body", "head")
    assert stages(Net(nn.Sequential())) == ("body", "head", "stages")


@pytest.mark.parametrize("net", [Net(), Backwards(nn.ReLU())], ids=type)
def test_without_a_declaration_the_error_says_what_to_declare(net: nn.Module):
    """All of it: the tuple with the network's own names, and what to do with code between the children."""
    names = ", ".join(repr(name) for name, _ in net.named_children())
    expected = rf"{type(net).__name__} declares no stages.*\(nn\.Flatten\(\)\)\..*self\.stages = \({names},\)"
    with pytest.raises(HypermnesiaError, match=expected):
        run(net, torch.zeros(1, 4))
    if isinstance(net, nn.Sequential):  # whose order is not that of its children
        with pytest.raises(HypermnesiaError, match=expected):
            stages(net)


def test_wrong_declarations():
    with pytest.raises(
        HypermnesiaError, match=r"Net declares the stage 'tail', but has no.*children: body, head"
    ):
        stages(Net(("body", "tail")))
    with pytest.raises(HypermnesiaError, match=r"Net declares a stage twice: body, head, body\."):
        stages(Net(("body", "head", "body")))


def test_a_range_of_stages():
    net = ResNet18Options(width=2).build((1, 16, 16), 3).eval()
    x = torch.randn(2, 1, 16, 16)
    body = run(net, x, last="layer2")
    assert torch.equal(body, net.layer2(net.layer1(net.stem(x))))
    assert torch.equal(run(net, body, first="layer3"), net(x))
    assert torch.equal(run(net, body, first="layer3", last="layer3"), net.layer3(body))
    assert torch.equal(run(net, x), net(x))


def test_a_section_takes_its_parameters_under_the_names_of_the_whole():
    net = MLPOptions(hidden=(5, 4)).build((1, 2, 2), 3)
    tail = section(net, first="layer2")
    doubled = {name: 2 * value for name, value in net.named_parameters() if not name.startswith("layer1.")}
    assert doubled.keys() == dict(tail.named_parameters()).keys()
    x = torch.randn(6, 1, 2, 2)
    expected = functional_call(net, doubled, (x,))
    assert torch.equal(functional_call(tail, doubled, (run(net, x, last="layer1"),)), expected)
    assert tail.get_submodule("head") is net.head


def test_bad_ranges():
    net = MLPOptions(hidden=(5, 4)).build((1, 2, 2), 3)
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(
        HypermnesiaError,
        match=r"unknown stage of Sequential 'layer4'; did you mean .* known: flatten, head, ",
    ):
        run(net, x, last="layer4")
    with pytest.raises(
        HypermnesiaError, match=r"stage 'head' of Sequential runs after 'layer1', so nothing lies between"
    ):
        section(net, first="head", last="layer1")


def test_the_classifier_is_the_last_linear():
    assert classifier(Net()) == "head"
    assert classifier(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))) == "1.0"
    assert classifier(nn.Linear(2, 2)) == ""
    with pytest.raises(HypermnesiaError, match=r"Sequential has no nn\.Linear.*Its children: 0"):
        classifier(nn.Sequential(nn.Conv2d(1, 1, 1)))


def test_what_the_classifier_is_called_on_is_seen_within_the_block_alone():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.randn(5, 4)
    with classifier_inputs(net) as seen:
        net(x)
    net(x)
    assert len(seen) == 1 and torch.equal(seen[0], net[1](net[0](x)))
    with pytest.raises(RuntimeError), classifier_inputs(net) as seen:
        net(torch.randn(5, 9))
    net(x)
    assert seen == []
