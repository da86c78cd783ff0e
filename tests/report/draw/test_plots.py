from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from hypermnesia.report.draw.heat import heat_map
from hypermnesia.report.draw.plots import Dot, Series, bars, columns, dots, lines, point_map
from hypermnesia.report.draw.svg import Scale


def tree(picture: Markup) -> ElementTree.Element:
    """Every picture is well-formed XML, whatever its texts hold."""
    return ElementTree.fromstring(picture)


def texts(picture: Markup, kind: str) -> list[str]:
    return [e.text or "" for e in tree(picture).iter("text") if kind in (e.get("class") or "").split()]


def titles(picture: Markup) -> list[str]:
    return [e.text or "" for e in tree(picture).iter("title")]


def test_curves_and_dots_say_what_they_are() -> None:
    series = [
        Series("hnet", [(1, 90.0, 1.0), (2, 80.0, 2.0)]),
        Series("<er>", [(1, 70.0, None)], 1, level=True),
    ]
    picture = lines(series, "label", "tasks", "accuracy (%)", y=Scale(0, 100, 200, 0), whole=True)
    assert {"hnet, 1: 90.0 ± 1.00", "<er>, 1: 70.0"} <= set(titles(picture))
    assert texts(picture, "tick") == ["0", "20", "40", "60", "80", "100", "1", "2"]
    assert texts(picture, "axis") == ["accuracy (%)", "tasks"]
    rows = [Dot("hnet", 90.0, 5.0, "90.00 ± 5.00", 0), Dot("<er>", 80.0, None, "80.00", 1)]
    picture = dots(rows, "label", "accuracy (%)", low=0, limits=(0, 100))
    assert texts(picture, "name") == ["hnet", "90.00 ± 5.00", "<er>", "80.00"]
    shares = bars([("lr", 50.0, "50 %"), ("<net>", 0.0, "0 %")], "label", "share (%)")
    assert texts(shares, "name") == ["lr", "50 %", "<net>", "0 %"]


def test_lines_of_one_place_and_one_value() -> None:
    picture = lines([Series("a", [(1, 5.0, None)])], "label", "tasks", "loss", whole=True)
    assert texts(picture, "tick")[-1] == "1"


def test_heat_map_cells() -> None:
    picture = heat_map(
        [[1.0, None], [0.25, 0.5]], "label", ["first", "<b>"], ["1", "2"], "after", "tested on"
    )
    fills = [e.get("fill") for e in tree(picture).iter("rect")]
    assert fills == ["#fde725", "url(#hatch)", "#3b528b", "#21918c"]
    assert texts(picture, "cell") == ["100", "25", "50"]
    assert texts(picture, "white") == ["25"]
    assert "first → 2: absent" in titles(picture) and "<b> → 1: 25.00 %" in titles(picture)
    assert texts(picture, "tick") == ["1", "2", "first", "<b>"]
    worse = heat_map([[-0.06]], "R²", ["first"], ["1"], "after", "tested on")
    assert texts(worse, "cell") == ["−6"]


def test_a_large_heat_map_is_one_image() -> None:
    matrix = [[0.5 if j <= i else None for j in range(40)] for i in range(40)]
    names = [f"task {i}" for i in range(40)]
    picture = heat_map(matrix, "label", names, [str(i + 1) for i in range(40)], "after", "tested on")
    (image,) = tree(picture).iter("image")
    assert image.get("href", "").startswith("data:image/png;base64,")
    assert image.get("width") == image.get("height")
    assert len(picture) < 6000
    assert texts(picture, "tick")[-1] == "40" and "task 3" not in picture


def test_column_labels_are_never_wrong_numbers() -> None:
    """Class names that are digits stay what they are, or are left out."""
    names = [str(digit) for digit in range(10)]
    picture = heat_map([[0.5] * 10], "label", ["a rather long row name"], names, "after", "tested on")
    assert texts(picture, "tick")[:-1] == names


def test_columns_are_as_high_as_their_values() -> None:
    picture = columns(["0", "1", "2"], [4, 2, 0], "label", "class", "examples")
    heights = [float(e.get("height", "")) for e in tree(picture).iter("rect")]
    assert heights == [pytest.approx(130), pytest.approx(65), 0]
    assert texts(picture, "tick")[-3:] == ["0", "1", "2"]
    assert titles(picture) == ["0: 4", "1: 2", "2: 0"]
    numbered = columns(["a long class name"] * 40, [1] * 40, "label", "class", "examples")
    assert texts(numbered, "tick") == ["0", "1", "1", "5", "10", "15", "20", "25", "30", "35", "40"]


def test_point_map_of_equal_points() -> None:
    assert texts(point_map([(1.0, 1.0)] * 3, list("abc"), "label", "x", "y"), "name") == ["1", "2", "3"]
