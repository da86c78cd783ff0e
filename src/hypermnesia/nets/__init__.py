"""Target networks: plain modules that never heard of hypernetworks, and what cuts any module into stages.

Every network maps images (B, C, H, W), or texts (B, L), to logits (B, outputs). It is an `nn.Sequential` of named stages and
ends in an `nn.Linear` called `head`. Initial weights come from torch's global generator: seed it, inside
`torch.random.fork_rng()`, before building.
"""

from typing import Any

from hypermnesia.core.errors import unknown
from hypermnesia.core.registry import PREFIX
from hypermnesia.nets.backbones import FORMS, is_backbone
from hypermnesia.nets.bottleneck import BottleneckOptions
from hypermnesia.nets.convnets import ConvNetOptions, LeNetOptions, ZenkeNetOptions
from hypermnesia.nets.factory import Factory, from_factory
from hypermnesia.nets.mlp import MLPOptions
from hypermnesia.nets.options import NetOptions, Shape
from hypermnesia.nets.pretrained import Pretrained
from hypermnesia.nets.resnet import ResNet18Options, ResNetOptions
from hypermnesia.nets.stages import classifier, run, section, stages
from hypermnesia.nets.transformer import TextTransformerOptions, ViTOptions
from hypermnesia.nets.wide_resnet import WideResNetOptions

NETS: dict[str, type[NetOptions]] = {
    "mlp": MLPOptions,
    "bottleneck": BottleneckOptions,
    "lenet": LeNetOptions,
    "zenkenet": ZenkeNetOptions,
    "convnet": ConvNetOptions,
    "resnet18": ResNet18Options,
    "resnet": ResNetOptions,
    "wide-resnet": WideResNetOptions,
    "vit": ViTOptions,
    "text-transformer": TextTransformerOptions,
}
"""The options of each network by its name on the command line."""


def find_net(name: Any) -> NetOptions:
    """The options of the network of that name, its own defaults: one of `NETS`, a pre-trained one, or
    `python:MODULE:FACTORY`."""
    if isinstance(name, str) and name.startswith(PREFIX):
        return Factory(name)
    if isinstance(name, str) and is_backbone(name):
        return Pretrained(name)
    if not isinstance(name, str) or name not in NETS:
        raise unknown("net", str(name), [*NETS, *FORMS, "python:MODULE:FACTORY"])
    return NETS[name]()


def name_of_net(options: NetOptions) -> str:
    """What `find_net` finds these options by."""
    if isinstance(options, Factory | Pretrained):
        return options.reference
    return next(name for name, kind in NETS.items() if type(options) is kind)


__all__ = [
    "BottleneckOptions",
    "ConvNetOptions",
    "Factory",
    "NETS",
    "LeNetOptions",
    "MLPOptions",
    "NetOptions",
    "Pretrained",
    "ResNet18Options",
    "ResNetOptions",
    "Shape",
    "TextTransformerOptions",
    "ViTOptions",
    "WideResNetOptions",
    "ZenkeNetOptions",
    "classifier",
    "find_net",
    "from_factory",
    "name_of_net",
    "run",
    "section",
    "stages",
]
