"""Colours that colour-blind readers can tell apart: classes for series, the viridis scale for heat maps.

Series use the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/) through the CSS classes s0, s1, …,
whose colours the style sheet sets for light and dark; shapes and dashes repeat the distinction without
colour.
"""

import struct
import zlib
from collections.abc import Sequence

from markupsafe import Markup

from hypermnesia.report.draw.svg import el

SERIES = 7
"""Colours in the palette; the eighth series starts over with another dash."""

_DASHES = (None, "6 3", "2 3", "9 3 2 3")
_VIRIDIS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")
_ANCHORS = [bytes.fromhex(colour) for colour in _VIRIDIS]


def series_class(index: int) -> str:
    """The CSS class that sets `color` for series `index`; those below 0 are neutral."""
    return f"s{index % SERIES}" if index >= 0 else "bound"


def dash(index: int, *, marked: bool = True) -> str | None:
    """The dashes of series `index`: with markers only once the colours are used up."""
    if index < 0:
        return _DASHES[-index % len(_DASHES)]
    return _DASHES[(index // SERIES if marked else index) % len(_DASHES)]


def in_order(position: int, total: int) -> str:
    """A style for the `position`-th of `total` ordered things (tasks): from --early to --late."""
    share = 100 * position / max(1, total - 1)
    return f"color: color-mix(in oklab, var(--late) {share:.0f}%, var(--early))"


def mark(x: float, y: float, index: int, tip: str | None = None, **more: object) -> Markup:
    """The marker of series `index` at (x, y); `tip` shows under the pointer."""
    r = 4.2
    outlines = (
        None,
        ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
        ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        ((0, 1.3), (1.2, -0.9), (-1.2, -0.9)),
        ((-1.3, -0.5), (0, -1.3), (1.3, -0.5), (0.8, 1.1), (-0.8, 1.1)),
        ((-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)),
    )
    title = [] if tip is None else [el("title", tip)]
    outline = outlines[index % SERIES]
    if outline is None:
        return el("circle", *title, cx=float(x), cy=float(y), r=r, class_="mark", **more)
    points = " ".join(f"{x + 0.9 * r * dx:.1f},{y + 0.9 * r * dy:.1f}" for dx, dy in outline)
    return el("polygon", *title, points=points, class_="mark", **more)


def heat(fraction: float) -> tuple[int, int, int]:
    """Viridis at a fraction in 0..1 (values outside are clipped), as red, green, blue in 0..255."""
    place = min(1.0, max(0.0, fraction)) * (len(_ANCHORS) - 1)
    low = min(int(place), len(_ANCHORS) - 2)
    part = place - low
    red, green, blue = (
        round(a + part * (b - a)) for a, b in zip(_ANCHORS[low], _ANCHORS[low + 1], strict=True)
    )
    return red, green, blue


def hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def readable_on(colour: tuple[int, int, int]) -> str:
    """ "black" or "white", whichever has the larger contrast on `colour` (WCAG 2, relative luminance)."""
    red, green, blue = (
        c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def png(pixels: Sequence[Sequence[tuple[int, int, int] | None]]) -> bytes:
    """A PNG file with one pixel per entry, None transparent: heat maps too large for elements."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"".join(b"\0\0\0\0" if p is None else bytes((*p, 255)) for p in row) for row in pixels)
    header = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 6, 0, 0, 0)  # 8 bits, RGBA
    body = zlib.compress(b"".join(rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
