import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hypermnesia.report.draw import colours


def test_heat_is_viridis_as_nine_anchors_tell_it() -> None:
    ours = np.array([colours.heat(share) for share in np.linspace(0, 1, 65)])
    theirs = matplotlib.colormaps["viridis"](np.linspace(0, 1, 65))[:, :3] * 255
    assert np.abs(ours - theirs).max() < 20


def test_values_outside_are_clipped() -> None:
    assert colours.heat(-1) == colours.heat(0) and colours.heat(2) == colours.heat(1)


def test_numbers_are_readable_on_every_colour() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        c = np.array(colour) / 255
        return float(
            np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    for share in np.linspace(0, 1, 101):
        back = luminance(colours.heat(share))
        front = {"black": 0.0, "white": 1.0}[colours.readable_on(colours.heat(share))]
        assert (max(back, front) + 0.05) / (min(back, front) + 0.05) >= 4.5


def test_png_is_a_picture_with_transparent_gaps() -> None:
    image = Image.open(io.BytesIO(colours.png([[(1, 2, 3), None], [(255, 0, 0), (4, 5, 6)]])))
    assert image.mode == "RGBA" and image.size == (2, 2)
    pixels = np.asarray(image)
    assert pixels[0, 0].tolist() == [1, 2, 3, 255] and pixels[1].tolist() == [
        [255, 0, 0, 255],
        [4, 5, 6, 255],
    ]
    assert pixels[0, 1, 3] == 0


def test_series_differ_in_colour_or_dash() -> None:
    looks = {(colours.series_class(i), colours.dash(i)) for i in range(4 * colours.SERIES)}
    assert len(looks) == 4 * colours.SERIES
    assert {colours.series_class(i) for i in (-1, -2)} == {"bound"}
    assert colours.dash(-1) != colours.dash(-2)


@pytest.mark.parametrize("index", range(colours.SERIES))
def test_marks_have_a_tooltip(index: int) -> None:
    assert "<title>a &lt; b</title>" in colours.mark(0, 0, index, "a < b")
