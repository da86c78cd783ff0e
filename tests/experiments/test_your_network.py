"""Networks that this package has never seen: a user's own, one as torchvision builds them, timm's and transformers'."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import hypermnesia as hm
from hypermnesia.commands.app import main
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import chosen

ROOT = Path(__file__).parents[2]

OWN = '''
from torch import nn


class CNN(nn.Module):
    """A user's own: no base class, no declaration, an odd head."""

    def __init__(self, shape, outputs):
        super().__init__()
        channels, height, width = shape
        self.trunk = nn.ModuleDict({"a": nn.Conv2d(channels, 6, 3, padding=1), "b": nn.Conv2d(6, 8, 3, stride=2)})
        self.bend = nn.PReLU()
        self.drop = nn.Dropout(0.1)
        self.score = nn.LazyLinear(outputs)
        self.score.initialize_parameters(self._features(__import__("torch").zeros(1, *shape)))

    def _features(self, x):
        for layer in self.trunk.values():
            x = self.bend(layer(x))
        return x.flatten(1)

    def forward(self, x):
        return self.score(self.drop(self._features(x)))
'''


class BasicBlock(nn.Module):
    """As torchvision's: conv1, bn1, conv2, bn2, downsample."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + short)


class ResNet(nn.Module):
    """As torchvision's: a stem with max pooling, layer1 to layer4, avgpool, fc; no stages declared."""

    def __init__(self, outputs: int, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i, stride in enumerate((1, 2, 1, 1)):
            block = BasicBlock(
                width * (1 if i < 2 else 2) if i else width, width * (1 if i == 0 else 2), stride
            )
            self.add_module(f"layer{i + 1}", nn.Sequential(block))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`net=` of the user's CNN, in a module of its own."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "net=python:own_networks:CNN"  # pyright: ignore[reportReturnType]
    sys.modules.pop("own_networks", None)


@pytest.mark.parametrize(
    ("approach", "words"),
    [
        ("er", []),
        ("hnet", ["generator.chunk=400", "generator.hidden=[8]"]),
        ("hypermask", ["generator=lowrank"]),
        ("hnet", ["weights=lora", "rank=2", "target=[trunk.*]"]),
        ("phn", ["cut=none", "weights.body=[trunk.a]"]),
        ("ewc", []),
    ],
)
def test_a_users_own_on_every_kind_of_weights(own_network: str, approach: str, words: list[str]):
    words = [
        *words,
        own_network,
        "train.iterations=3",
        "train.threads=1",
        "evaluate.samples=20",
        "stream.tasks=2",
    ]
    run = hm.build(hm.resolve("split-digits", approach, words), seed=0)
    for _ in run:
        pass
    assert len(run.records.rows["task"]) == 2


def test_from_the_command_line(own_network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [own_network, "weights=lora", "train.iterations=5", "stream.tasks=2", "train.threads=1"]
    with pytest.raises(SystemExit) as done:
        main(["run", "split-digits", "hnet", *words, "--out", str(tmp_path / "run")])
    assert done.value.code == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "seed-0" / "result.json").is_file()


def test_what_does_not_fit_is_told_before_training(own_network: str):
    cfg = hm.resolve("split-digits", "hnet", [own_network])
    stream = hm.load("split-digits")
    with pytest.raises(HypermnesiaError, match=r"ResNet returned shape \(2, 7\) .* build it with 2 outputs"):
        hm.model_for(stream, ResNet(7), "hyper")
    assert chosen(cfg.sections)["net.name"] == "python:own_networks:CNN"


@pytest.mark.parametrize("kind", ["plain", "hyper", "mask", "lora"])
def test_a_network_as_torchvision_builds_them(kind):
    """Batch norm: each task has its own statistics where its weights are its own; nothing leaks into the module."""
    stream = hm.load("split-digits", options=hm.StreamOptions(tasks=2))
    model = hm.model_for(stream, ResNet, kind)
    method = hm.Finetune() if kind == "plain" else hm.combine(hm.Finetune(), hm.Drift())
    records = hm.fit(model, stream, method, hm.TrainOptions(iterations=8, threads=1))
    assert len(records.rows["task"]) == 2
    for task in range(2):
        plain = ResNet(model.head.width if model.head else 0)
        plain.load_state_dict(model.task_state(task))
        x = torch.rand(3, *stream.shape)
        model.eval()
        with torch.no_grad():
            logits = model(x, task)
            torch.testing.assert_close(plain.eval()(x)[:, : logits.shape[1]], logits)
    assert bool(model.statistics) == (kind in ("hyper", "mask"))


SCRIPT = """
import sys
import torch

# A torchvision built for CUDA does not import beside a CPU build of torch: it describes operators of its compiled part,
# which cannot be loaded there. With their schemas declared it does. timm needs it, and transformers where it is there.
try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
except ImportError:
    pass  # not installed

import hypermnesia as hm
from hypermnesia.weights.options import Hyper, LoRA

def timm(outputs):
    import timm
    sizes = dict(img_size=8, patch_size=4, in_chans=1, embed_dim=16, depth=2, num_heads=2)
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=outputs, **sizes)

def transformers(outputs):
    from transformers import ViTConfig, ViTForImageClassification
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    config = ViTConfig(image_size=8, patch_size=4, num_channels=1, num_labels=outputs, **sizes)
    return ViTForImageClassification(config)

stream = hm.load("split-digits", options=hm.StreamOptions(tasks=2))
for build, target in ((timm, "blocks.*.attn.*.weight"), (transformers, "vit.*.attention.*.weight")):
    for weights in (LoRA(target=(target,)), Hyper()):
        try:
            model = hm.model_for(stream, build, weights)
        except ImportError as error:
            print(build.__name__, "absent:", error)
            break
        method = hm.combine(hm.Finetune(), hm.Drift())
        records = hm.fit(model, stream, method, hm.TrainOptions(iterations=2, threads=1))
        written = [name for name, role in model.roles.items() if role in ("added", "generated")]
        print(build.__name__, weights.kind, len(records.rows["task"]), len(written))


def torchvision(outputs):
    from torchvision.models.resnet import BasicBlock, ResNet
    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=outputs)
    net.conv1 = torch.nn.Conv2d(1, 64, 3, bias=False)
    return net

try:
    model = hm.model_for(stream, torchvision, hm.Partial(cut="layer4"))
except ImportError as error:
    print("torchvision absent:", error)
else:
    method = hm.combine(hm.Finetune(), hm.Drift())
    records = hm.fit(model, stream, method, hm.TrainOptions(iterations=2, threads=1))
    print("torchvision partial", len(records.rows["task"]), model.roles["layer4.0.bn2.weight"], model.roles["fc.weight"])
    for cut in ("layer9", "layer2"):
        try:
            hm.model_for(stream, torchvision, hm.Partial(cut=cut))
        except hm.HypermnesiaError as error:
            print("torchvision", error)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the script printed: a process of its own, because the operators stay declared in it."""
    folder = tmp_path_factory.mktemp("other-libraries")
    (folder / "script.py").write_text(SCRIPT)
    environment = {"PYTHONPATH": str(ROOT / "src"), "HYPERMNESIA_CACHE": str(folder), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, folder / "script.py"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


TOLD = {
    "timm": ["timm lora 2 4", "timm hyper 2 "],
    "transformers": ["transformers lora 2 8", "transformers hyper 2 "],
    "torchvision": [
        "torchvision partial 2 body generated",
        "torchvision weights.cut=layer9: ResNet has no such stage to cut behind; write the last stage of the shared body, such "
        "as weights.cut=layer4. In the order they are registered there are: conv1, bn1, relu, maxpool, layer1, layer2, layer3, "
        "layer4, avgpool; auto is all but the classifier, none no shared body",
        "torchvision ResNet: an instance norm sees maps of one pixel, which it makes 0. With weights=partial write "
        "weights.tail_norm=group, or weights.tail_norm=keep",
    ],
}
"""Lines of the script, or how they begin."""


@pytest.mark.parametrize("package", TOLD)
def test_networks_of_other_libraries(package: str, said: list[str]):
    """Built from their configuration with random weights; pre-trained ones come by the same calls, with a name. Torchvision's
    have cuts without declaring any, and what they cannot do is told with what to write."""
    found = [line for line in said if line.startswith(f"{package} ")]
    if "absent" in found[0]:
        pytest.skip(f"{found[0]}; pip install 'hypermnesia[nets]'")
    for line, told in zip(found, TOLD[package], strict=True):
        assert line.startswith(told)


FAILING = """
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(64, outputs)
        self.calls = 0

    def forward(self, x):
        return self.layer(self.halved(x.flatten(1)))

    def halved(self, x):
        self.calls += 1
        return x[:, :32] if self.calls > 3 else x
"""


def test_an_error_in_the_users_own_network_shows_their_lines_and_no_others(command, tmp_path, monkeypatch):
    (tmp_path / "failing_net.py").write_text(FAILING)
    monkeypatch.chdir(tmp_path)
    done = command(
        "run", "split-digits", "er", "net=python:failing_net:Net", "train.iterations=5", "train.threads=1"
    )
    assert done.code == 3
    files = [line for line in done.err.splitlines() if line.lstrip().startswith("File ")]
    assert len(files) == 1 and "failing_net.py" in files[0] and "in forward" in files[0], done.err
    assert done.err.startswith("hypermnesia: code of yours failed:\n")
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in done.err
