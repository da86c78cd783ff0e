import os
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from data.conftest import png
from PIL import Image

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources import decode as module
from hypermnesia.data.sources.decode import decode

NOISE = np.random.default_rng(0).integers(256, size=(6, 5, 3), dtype=np.uint8)
GRAY = NOISE[:, :, 0]


def place(i: int) -> str:
    return f"image {i}"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims width × height grey pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_gray_images_have_one_channel_and_colour_three():
    assert torch.equal(decode([png(GRAY)], place, None), torch.from_numpy(GRAY.copy())[None, None])
    x = decode([png(NOISE), png(GRAY)], place, None)
    assert torch.equal(x[0], torch.from_numpy(NOISE.copy()).permute(2, 0, 1))
    assert torch.equal(x[1], torch.from_numpy(GRAY.copy()).expand(3, 6, 5))


def test_what_memory_has_no_room_for_lies_in_a_file(monkeypatch: pytest.MonkeyPatch):
    images = [encoded(Image.fromarray(NOISE)), encoded(Image.fromarray(255 - NOISE))]
    in_memory = decode(images, place, None)
    monkeypatch.setattr(module, "SHARE", 0)
    in_a_file = decode(images, place, None)
    assert torch.equal(in_a_file, in_memory)
    folder = os.path.realpath(os.environ["HYPERMNESIA_CACHE"])
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if folder in line]
    assert any(int(line.partition("-")[0], 16) == in_a_file.data_ptr() for line in mapped)
    assert not list(Path(folder).glob("tmp*"))


def test_paths_are_read_like_bytes(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(NOISE))
    assert torch.equal(decode([tmp_path / "a.png"], place, None), decode([png(NOISE)], place, None))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "YCbCr", "1", "LA", "L"])
def test_every_mode_becomes_gray_or_rgb(mode: str):
    image = Image.fromarray(NOISE).convert(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    gray = mode in ("1", "L", "LA")
    x = decode([encoded(image, kind)], place, None)
    expected = np.asarray(image.convert("L" if gray else "RGB"))
    assert torch.equal(x[0], torch.from_numpy(expected.copy()).view(6, 5, -1).permute(2, 0, 1))


def test_a_palette_with_transparency_loses_it_without_a_warning():
    image = Image.fromarray(NOISE).convert("P")
    data = encoded(image, transparency=bytes(range(256)))
    assert torch.equal(decode([data], place, None), decode([encoded(image)], place, None))


def test_sixteen_bit_gray_keeps_its_upper_half():
    deep = GRAY.astype(np.uint16) * 256 + 99
    assert torch.equal(
        decode([encoded(Image.fromarray(deep))], place, None)[0, 0], torch.from_numpy(GRAY.copy())
    )


def test_size_cuts_the_middle_square_and_scales_it():
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = np.arange(16).reshape(4, 4) * 10
    assert decode([png(wide)], place, 4)[0, 0].tolist() == wide[:, 4:8].tolist()
    flat = np.full((9, 7), 123, np.uint8)
    assert (decode([png(flat), png(wide)], place, 3)[0] == 123).all()


def test_images_of_different_sizes_need_a_size():
    text = "images differ in size: image 0 has 5×6 pixels, image 2 has 2×3; set stream.size"
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        decode([png(GRAY), png(GRAY), png(GRAY[:3, :2])], place, None)


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (2**16, 2**14), (2**31 - 1, 2**31 - 1)])
def test_a_header_that_claims_too_much_is_refused_before_decoding(width: int, height: int):
    with pytest.raises(
        HypermnesiaError, match=r"image 1: the image is too large .*; at most 67108864 pixels"
    ):
        decode([png(GRAY), huge_png(width, height)], place, 8)


def test_all_images_together_are_bounded_before_allocation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BYTES", 3 * 6 * 5)
    decode([png(GRAY)] * 3, place, None)
    with pytest.raises(HypermnesiaError, match="4 images of 5×6 pixels need .* set a smaller stream.size"):
        decode([png(GRAY)] * 4, place, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        png(NOISE)[:60],
        png(NOISE)[:-30],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
    ids=["empty", "text", "header cut", "pixels cut", "postscript"],
)
def test_damage_names_the_image(data: bytes):
    with pytest.raises(
        HypermnesiaError, match="image 1: the image cannot be read .*; expected an undamaged file"
    ):
        decode([png(NOISE), data], place, None)


def test_one_flipped_byte_is_an_error_or_an_image():
    """Whatever a damaged byte does to Pillow, it ends as a clear error or as pixels."""
    whole = png(NOISE)
    failed = 0
    for i in range(len(whole)):
        damaged = whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :]
        try:
            assert decode([damaged], place, 5).shape == (1, 3, 5, 5)
        except HypermnesiaError as error:
            failed += 1
            assert "image 0: " in str(error)
    assert failed > len(whole) / 2


def test_float_images_are_refused():
    data = encoded(Image.fromarray(NOISE[:, :, 0].astype(np.float32)), "TIFF")
    with pytest.raises(HypermnesiaError, match="image 0: the image has mode 'F'; expected one of 1, L, LA"):
        decode([data], place, None)
