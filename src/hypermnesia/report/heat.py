"""Heat maps of fractions: accuracy matrices, confusions, overlaps."""

import base64
from collections.abc import Sequence

from markupsafe import Markup

from hypermnesia.report import colours
from hypermnesia.report.svg import WIDTH, clip, el, picture, text
from hypermnesia.report.units import percent

_LARGEST_DRAWN = 30  # rows or columns; a larger map becomes an image
_LARGEST_NUMBERED = 12  # columns of a map whose cells carry their number


def heat_map(
    matrix: Sequence[Sequence[float | None]],
    label: str,
    rows: Sequence[str],
    columns: Sequence[str],
    row_axis: str,
    column_axis: str,
    *,
    largest_cell: float = 36,
) -> Markup:
    """Fractions in 0..1 as coloured cells with their percentage; null cells are hatched.

    More than 30 rows or columns are drawn as one image, without a number and a tooltip per cell.
    """
    left = min(
        14 + 6.4 * max(len(name) for name in rows), max(104.0, WIDTH - 4 - largest_cell * len(columns)), 160.0
    )
    cell = min(largest_cell, (WIDTH - left - 4) / len(columns))
    tall = max(cell, 3.0) if len(rows) <= 3 * len(columns) else max(3.0, min(cell, 18.0))
    turned = any(6.6 * len(name) > cell * _every(cell, 22) for name in columns)
    top = 22 + (52 if turned else 18)
    width, height = left + cell * len(columns) + 4, top + tall * len(rows) + 4
    width = max(width, left + 6.4 * len(column_axis) + 4, 6.6 * len(row_axis) + 8)
    parts = [
        text(left, 12, column_axis, kind="axis"),
        *_column_labels(columns, left, top, cell, turned),
        *_row_labels(rows, left, top, tall),
    ]
    if row_axis:
        parts.append(text(0, top - 6, clip(row_axis, left), kind="axis"))
    if max(len(rows), len(columns)) > _LARGEST_DRAWN:
        parts.append(_image(matrix, left, top, cell * len(columns), tall * len(rows)))
    else:
        parts += _cells(matrix, rows, columns, left, top, cell, tall)
    return picture(width, height, label, *parts)


def _every(size: float, wanted: float) -> int:
    """Label every n-th cell so that labels are `wanted` pixels apart."""
    return max(1, int(-(-wanted // size)))


def _column_labels(names: Sequence[str], left: float, top: float, cell: float, turned: bool) -> list[Markup]:
    parts = []
    for index in range(0, len(names), _every(cell, 14 if turned else 22)):
        x = left + cell * (index + 0.5)
        if turned:
            turn = f"rotate(-50 {x + 3:.1f} {top - 5:.1f})"
            parts.append(text(x + 3, top - 5, clip(names[index], 62, 11), kind="tick", transform=turn))
        else:
            parts.append(text(x, top - 6, names[index], anchor="middle", kind="tick"))
    return parts


def _row_labels(names: Sequence[str], left: float, top: float, tall: float) -> list[Markup]:
    every = _every(tall, 14)
    return [
        el("g", el("title", names[i]), _row_label(names[i], left, top + tall * (i + 0.5) + 4))
        for i in range(0, len(names), every)
    ]


def _row_label(name: str, left: float, y: float) -> Markup:
    return text(left - 6, y, clip(name, left - 8, 11.5), anchor="end", kind="tick")


def _cells(
    matrix: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    left: float,
    top: float,
    cell: float,
    tall: float,
) -> list[Markup]:
    numbered = len(columns) <= _LARGEST_NUMBERED and cell >= 22 and tall >= 14
    parts = []
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            x, y = left + cell * j, top + tall * i
            shown = "absent" if value is None else f"{percent(value)} %"
            colour = None if value is None else colours.heat(value)
            fill = "url(#hatch)" if colour is None else colours.hexadecimal(colour)
            title = el("title", f"{rows[i]} → {columns[j]}: {shown}")
            parts.append(el("rect", title, x=x, y=y, width=cell - 1, height=tall - 1, fill=fill))
            if numbered and value is not None and colour is not None:
                place = {"x": x + (cell - 1) / 2, "y": y + (tall - 1) / 2 + 4}
                kind = f"cell {colours.readable_on(colour)}"
                parts.append(el("text", f"{100 * value:.0f}", text_anchor="middle", class_=kind, **place))
    return parts


def _image(
    matrix: Sequence[Sequence[float | None]], x: float, y: float, width: float, height: float
) -> Markup:
    pixels = [[None if value is None else colours.heat(value) for value in row] for row in matrix]
    data = base64.b64encode(colours.png(pixels)).decode()
    place = {"x": x, "y": y, "width": width, "height": height}
    return Markup("").join(
        [
            el("rect", fill="url(#hatch)", **place),
            el(
                "image",
                href=f"data:image/png;base64,{data}",
                preserveAspectRatio="none",
                class_="pixels",
                **place,
            ),
        ]
    )
