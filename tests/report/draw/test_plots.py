import re
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


def test_lines_go_through_their_points() -> None:
    series = [
        Series("hnet", [(1, 90.0, 1.0), (2, 80.0, 2.0)]),
        Series("<er>", [(1, 70.0, None), (2, 60.0, None)], 1),
    ]
    picture = lines(series, "label", "tasks", "accuracy (%)", y=Scale(0, 100, 200, 0), whole=True)
    curves = [e.get("d") for e in tree(picture).iter("path") if "curve" in e.get("class", "")]
    assert curves == ["M50.0 20.0L328.0 40.0", "M50.0 60.0L328.0 80.0"]
    bands = [e.get("d") for e in tree(picture).iter("path") if e.get("class") == "band"]
    assert bands == ["M50.0 18.0L328.0 36.0L328.0 44.0L50.0 22.0Z"]
    assert "hnet, 1: 90.0 ± 1.00" in titles(picture) and "<er>" in titles(picture)
    assert texts(picture, "tick") == ["0", "20", "40", "60", "80", "100", "1", "2"]
    assert texts(picture, "axis") == ["accuracy (%)", "tasks"]


def test_a_single_point_is_a_level_line() -> None:
    many = Series("hnet", [(1, 90.0, None), (5, 80.0, None)])
    joint = Series("joint", [(5, 95.0, None)], -1, level=True)
    picture = lines([many, joint], "label", "tasks", "accuracy (%)", y=Scale(0, 100, 200, 0))
    (level,) = [e for e in tree(picture).iter("line") if e.get("class") == "curve"]
    assert (level.get("x1"), level.get("x2"), level.get("y1"), level.get("y2")) == ("50", "328", "10", "10")


def test_lines_of_one_place_and_one_value() -> None:
    picture = lines([Series("a", [(1, 5.0, None)])], "label", "tasks", "loss", whole=True)
    assert texts(picture, "tick")[-1] == "1"


def test_dots_stand_at_their_means_with_their_intervals() -> None:
    rows = [Dot("hnet", 90.0, 5.0, "90.00 ± 5.00", 0), Dot("<er>", 80.0, None, "80.00", 1)]
    picture = dots(rows, "label", "accuracy (%)", low=0, limits=(0, 100))
    x = Scale(0, 100, 8, 326)
    (circle,) = tree(picture).iter("circle")
    assert float(circle.get("cx", "")) == pytest.approx(x(90))
    whisker = next(e for e in tree(picture).iter("line") if e.get("class") == "whisker")
    assert float(whisker.get("x1", "")) == pytest.approx(x(85), abs=0.01)
    assert float(whisker.get("x2", "")) == pytest.approx(x(95), abs=0.01)
    assert texts(picture, "name") == ["hnet", "90.00 ± 5.00", "<er>", "80.00"]


def test_an_interval_is_cut_at_the_ends_of_the_axis() -> None:
    picture = dots(
        [Dot("a", 98.0, 5.0, "", 0), Dot("b", 10.0, 1.0, "", 1)], "label", "accuracy (%)", limits=(0, 100)
    )
    ends = [float(e.get("x2", "")) for e in tree(picture).iter("line") if e.get("class") == "whisker"]
    assert max(ends) == 326
    picture = dots([Dot("a", 10.0, 20.0, "", 0), Dot("b", 1000.0, 1.0, "", 1)], "label", "bytes", log=True)
    starts = [float(e.get("x1", "")) for e in tree(picture).iter("line") if e.get("class") == "whisker"]
    assert min(starts) == 8


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


def test_a_large_heat_map_is_one_image() -> None:
    matrix = [[0.5 if j <= i else None for j in range(40)] for i in range(40)]
    names = [f"task {i}" for i in range(40)]
    picture = heat_map(matrix, "label", names, [str(i + 1) for i in range(40)], "after", "tested on")
    (image,) = tree(picture).iter("image")
    assert image.get("href", "").startswith("data:image/png;base64,")
    assert image.get("width") == image.get("height")
    assert len(picture) < 6000
    assert texts(picture, "tick")[-1] == "40" and "task 3" not in picture


def test_many_rows_of_few_columns_keep_their_names() -> None:
    picture = heat_map([[0.5] * 3] * 60, "label", [f"w{i}" for i in range(60)], list("123"), "tensor", "task")
    assert len(list(tree(picture).iter("image"))) == 0
    assert {"w0", "w59"} <= set(texts(picture, "tick"))


def test_long_column_names_are_turned() -> None:
    picture = heat_map([[0.5] * 3], "label", ["a"], ["aeroplane", "automobile", "bird"], "after", "tested on")
    assert len(re.findall(r"rotate\(-50", picture)) == 3


def test_column_labels_are_never_wrong_numbers() -> None:
    """Class names that are digits stay what they are, or are left out."""
    names = [str(digit) for digit in range(10)]
    picture = heat_map([[0.5] * 10], "label", ["a rather long row name"], names, "after", "tested on")
    assert texts(picture, "tick")[:-1] == names


def test_bars_are_as_long_as_their_values() -> None:
    picture = bars([("lr", 50.0, "50 %"), ("<net>", 0.0, "0 %")], "label", "share (%)")
    widths = [float(e.get("width", "")) for e in tree(picture).iter("rect") if e.get("class") == "bar"]
    assert widths == [pytest.approx(318, abs=0.01), 0]
    assert texts(picture, "name") == ["lr", "50 %", "<net>", "0 %"]


def test_columns_are_as_high_as_their_values() -> None:
    picture = columns(["0", "1", "2"], [4, 2, 0], "label", "class", "examples")
    heights = [float(e.get("height", "")) for e in tree(picture).iter("rect")]
    assert heights == [pytest.approx(130), pytest.approx(65), 0]
    assert texts(picture, "tick")[-3:] == ["0", "1", "2"]
    assert titles(picture) == ["0: 4", "1: 2", "2: 0"]
    numbered = columns(["a long class name"] * 40, [1] * 40, "label", "class", "examples")
    assert texts(numbered, "tick") == ["0", "1", "1", "5", "10", "15", "20", "25", "30", "35", "40"]


def test_point_map_has_one_scale_on_both_axes() -> None:
    picture = point_map([(0.0, 0.0), (4.0, 1.0)], ["<a>", "b"], "label", "x", "y")
    (x0, y0), (x1, y1) = [
        (float(e.get("cx", "")), float(e.get("cy", ""))) for e in tree(picture).iter("circle")
    ]
    assert (x1 - x0) / (y0 - y1) == pytest.approx(4, rel=1e-2)
    assert texts(picture, "name") == ["1", "2"]


def test_point_map_of_equal_points() -> None:
    assert texts(point_map([(1.0, 1.0)] * 3, list("abc"), "label", "x", "y"), "name") == ["1", "2", "3"]
