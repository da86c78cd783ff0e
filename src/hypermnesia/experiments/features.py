"""A source's images as features of a frozen pre-trained network, computed once and kept on disk."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import replace_file
from hypermnesia.core.waiting import counted
from hypermnesia.data.options import StreamOptions
from hypermnesia.data.sources.cache import cached, directory
from hypermnesia.data.sources.source import Images, Source
from hypermnesia.nets.backbones import Backbone, open_backbone

ROWS = 2048
"""Images of one piece on disk: what an interruption costs at most."""


def backbone_of(options: StreamOptions) -> Backbone | None:
    """The frozen network that a stream's images are seen through; None where they are taken as they are."""
    if options.features is None:
        if options.features_size is not None:
            raise HypermnesiaError("stream.features_size says nothing without stream.features")
        return None
    return open_backbone(options.features, options.features_size)


@dataclass(frozen=True)
class Features:
    """What a stream's images are seen through."""

    backbone: Backbone

    @property
    def size(self) -> int:
        return self.backbone.size

    def __call__(self, source: Source) -> Source:
        return featured(source, self.backbone)


def through(options: StreamOptions) -> Features | None:
    """What makes features of a decoded source; None where images are taken as they are."""
    backbone = backbone_of(options)
    return None if backbone is None else Features(backbone)


def featured(source: Source, backbone: Backbone) -> Source:
    """`source` with features (N, d) float32 in place of images, from the cache or computed once.

    The key is the images' and the network's content, not their names. Pieces are written while it works, so that an
    interrupted computation goes on. Raises `HypermnesiaError` for what is no image.
    """
    if len(source.shape) != 3:
        raise HypermnesiaError(
            f"{source.name}: {backbone.name} takes images, and these samples have the shape {source.shape}"
        )
    key = {"source": source.sha256, "backbone": backbone.sha256, "size": backbone.size}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    pieces = directory() / f"features-{digest}"
    name = f"{source.name} through {backbone.name}"

    def build() -> Source:
        def through(part: str, images: Images) -> Images:
            return Images(_computed(images.x, backbone, pieces / part, f"{name}, {part}"), images.y)

        return Source(name, through("train", source.train), through("test", source.test), source.class_names)

    made = cached(f"features:{name}", key, build)
    _clear(pieces)
    return made


def _computed(images: Tensor, backbone: Backbone, pieces: Path, what: str) -> Tensor:
    found = []
    for number, chunk in enumerate(counted(images.split(ROWS), f"features of {what}")):
        path = pieces / f"{number:06d}.safetensors"
        piece = _read(path, len(chunk))
        if piece is None:
            piece = backbone.features(chunk)
            _keep(path, piece)
        found.append(piece)
    return torch.cat(found)


def _keep(path: Path, piece: Tensor) -> None:
    """Write a piece where that can be done; without it an interruption costs more, and nothing else."""
    content = save({"features": piece}, {"sha256": _sha256(piece)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError:
        return


def _read(path: Path, rows: int) -> Tensor | None:
    """A piece that was written whole, else None."""
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        piece = load(content)["features"]
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    good = len(piece) == rows and header.get("__metadata__", {}).get("sha256") == _sha256(piece)
    return piece if good else None


def _sha256(piece: Tensor) -> str:
    return hashlib.sha256(piece.contiguous().numpy().data).hexdigest()


def _clear(pieces: Path) -> None:
    """Take the pieces away once the whole is there."""
    for path in sorted(pieces.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    if pieces.is_dir():
        pieces.rmdir()
