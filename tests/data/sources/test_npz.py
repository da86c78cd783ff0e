import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import from_arrays, open_source

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 5), dtype=np.uint8)
Y = np.arange(12) % 3


@pytest.mark.parametrize(
    "names", [("x", "y", "test_x", "test_y"), ("x_train", "y_train", "x_test", "y_test")]
)
def test_arrays_by_their_names(tmp_path: Path, names: tuple[str, ...]):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **dict(zip(names, (IMAGES, Y, IMAGES[:3], Y[:3]), strict=True)))
    assert open_source(f"npz:{path}").sha256 == from_arrays(IMAGES, Y, IMAGES[:3], Y[:3]).sha256


def test_without_a_test_part_and_with_names(tmp_path: Path):
    np.savez(tmp_path / "data.npz", x=IMAGES, y=Y, class_names=np.array(["ant", "bee", "cow"]))
    source = open_source(f"npz:{tmp_path / 'data.npz'}")
    assert source.class_names == ("ant", "bee", "cow")
    assert (len(source.train), len(source.test)) == (9, 3)


def claims(shape: tuple[int, ...]) -> bytes:
    """A .npz file whose array claims this shape and holds nothing."""
    header, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    return out.getvalue()


def saved(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def damaged() -> bytes:
    """A compressed file with a byte that no compressor writes."""
    out = io.BytesIO()
    np.savez_compressed(out, x=IMAGES, y=Y)
    name = b"x.npy"
    start = out.getvalue().index(name) + len(name) + 20
    return out.getvalue()[:start] + b"\xff" * 8 + out.getvalue()[start + 8 :]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nothing", "cannot be read as .npz"),
        (saved(x=IMAGES, y=Y)[:-30], "cannot be read as .npz"),
        (saved(x=np.array([{}], dtype=object)), "cannot be read as .npz (Object arrays cannot be loaded"),
        (claims((10**6, 10**6)), "its arrays have 7450.6 GiB, more than the 32 GiB allowed"),
        (claims((10,)), "cannot be read as .npz"),
        (damaged(), "cannot be read as .npz (Error -3 while decompressing data"),
        (saved(a=IMAGES), "it holds the arrays a; expected train_x, train_y or x_train, y_train or x, y"),
        (saved(x=IMAGES, y=Y[:4]), "12 samples with 4 labels"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(HypermnesiaError, match=re.escape(said)):
        open_source(f"npz:{tmp_path / 'data.npz'}")
