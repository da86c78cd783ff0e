"""Target networks: plain modules that never heard of hypernetworks, and what cuts any module into stages.

Every network maps images (B, C, H, W), or texts (B, L), to logits (B, outputs), declares its `stages` and ends in an
`nn.Linear` called `head`. Initial weights come from torch's global generator: seed it, inside
`torch.random.fork_rng()`, before building.
"""

from hypermnesia.nets.convnets import LeNet, LeNetOptions, ZenkeNet, ZenkeNetOptions
from hypermnesia.nets.factory import from_factory
from hypermnesia.nets.mlp import MLP, MLPOptions
from hypermnesia.nets.options import NetOptions, Shape
from hypermnesia.nets.resnet import ResNet, ResNet18, ResNet18Options, ResNetOptions
from hypermnesia.nets.stages import classifier, run, section, stages
from hypermnesia.nets.transformer import TextTransformer, TextTransformerOptions, ViT, ViTOptions
from hypermnesia.nets.wide_resnet import WideResNet, WideResNetOptions

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
    "MLP",
    "NETS",
    "LeNet",
    "LeNetOptions",
    "MLPOptions",
    "NetOptions",
    "ResNet",
    "ResNet18",
    "ResNet18Options",
    "ResNetOptions",
    "Shape",
    "TextTransformer",
    "TextTransformerOptions",
    "ViT",
    "ViTOptions",
    "WideResNet",
    "WideResNetOptions",
    "ZenkeNet",
    "ZenkeNetOptions",
    "classifier",
    "from_factory",
    "run",
    "section",
    "stages",
]
