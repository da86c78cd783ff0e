"""Target networks: plain modules that never heard of hypernetworks, and what cuts any module into stages.

Every network maps images (B, C, H, W), or texts (B, L), to logits (B, outputs). It is an `nn.Sequential` of named stages and
ends in an `nn.Linear` called `head`. Initial weights come from torch's global generator: seed it, inside
`torch.random.fork_rng()`, before building.
"""

from hypermnesia.nets.convnets import LeNetOptions, ZenkeNetOptions
from hypermnesia.nets.factory import Factory, from_factory
from hypermnesia.nets.mlp import MLPOptions
from hypermnesia.nets.options import NetOptions, Shape
from hypermnesia.nets.resnet import ResNet18Options, ResNetOptions
from hypermnesia.nets.stages import classifier, run, section, stages
from hypermnesia.nets.transformer import TextTransformerOptions, ViTOptions
from hypermnesia.nets.wide_resnet import WideResNetOptions

NETS: dict[str, type[NetOptions]] = {
    "mlp": MLPOptions,
    "lenet": LeNetOptions,
    "zenkenet": ZenkeNetOptions,
    "resnet18": ResNet18Options,
    "resnet": ResNetOptions,
    "wide-resnet": WideResNetOptions,
    "vit": ViTOptions,
    "text-transformer": TextTransformerOptions,
}
"""The options of each network by its name on the command line."""

__all__ = [
    "Factory",
    "NETS",
    "LeNetOptions",
    "MLPOptions",
    "NetOptions",
    "ResNet18Options",
    "ResNetOptions",
    "Shape",
    "TextTransformerOptions",
    "ViTOptions",
    "WideResNetOptions",
    "ZenkeNetOptions",
    "classifier",
    "from_factory",
    "run",
    "section",
    "stages",
]
