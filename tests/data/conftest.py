"""Small synthetic sources, in memory and on disk."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hypermnesia.data import Source, from_tensors

MakeSource = Callable[..., Source]


@pytest.fixture
def make_source() -> MakeSource:
    """`make_source(classes=4, per_class=6, channels=1, side=8)`: random images, classes in turn."""

    def make(classes: int = 4, per_class: int = 6, channels: int = 1, side: int = 8) -> Source:
        rng = torch.Generator().manual_seed(classes + per_class)

        def images(each: int) -> tuple[torch.Tensor, torch.Tensor]:
            n = classes * each
            x = torch.randint(256, (n, channels, side, side), dtype=torch.uint8, generator=rng)
            return x, torch.arange(n) % classes

        names = [f"class {c}" for c in range(classes)]
        return from_tensors(*images(per_class), *images(2), class_names=names)

    return make


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    """`pixels` (H, W) or (H, W, 3) as a PNG, converted to `mode` first."""
    image = Image.fromarray(pixels)
    out = BytesIO()
    (image if mode is None else image.convert(mode)).save(out, "PNG")
    return out.getvalue()


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[object],
    columns: tuple[str, str] = ("image", "label"),
) -> Path:
    """A parquet file in the hub's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    column = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({columns[0]: pa.array(column, kind), columns[1]: pa.array(labels)})
    pq.write_table(table, path)
    return path


def gray_images(count: int, side: int = 4, start: int = 0) -> list[bytes]:
    """Image i has the value `start + i` everywhere."""
    return [png(np.full((side, side), start + i, np.uint8)) for i in range(count)]
