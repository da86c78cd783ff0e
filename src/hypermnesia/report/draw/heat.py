"""Heat maps of fractions: accuracy matrices, confusions, overlaps."""

import base64
from collections.abc import Sequence

from markupsafe import Markup

from hypermnesia.core.units import percent
from hypermnesia.report.draw import colours
from hypermnesia.report.draw.svg import WIDTH, clip, el, picture, text, whole_ticks

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

    A matrix of more than 30 tasks becomes one image without a number and a tooltip per cell.
    """
    large = len(rows) > _LARGEST_DRAWN and len(rows) <= 3 * len(columns)
    if large:
        rows = [str(number) for number in range(1, len(rows) + 1)]
    wanted = 14 + 6.4 * max(len(name) for name in rows)
    left = min(wanted, max(104.0, WIDTH - 4 - largest_cell * len(columns)), 160.0)
    cell = min(largest_cell, (WIDTH - left - 4) / len(columns))
    flattest = 18.0 if len(rows) > 3 * len(columns) else largest_cell
    tall = cell if large else max(14.0, min(cell, flattest))
    turned = cell >= 12 and any(6.6 * len(name) > cell for name in columns if not name.isdigit())
    top = 22 + (52 if turned else 18)
    width, height = left + cell * len(columns) + 4, top + tall * len(rows) + 4
    beside = 7.0 * len(row_axis) + 8 <= left  # room for the row axis beside the column labels
    start = left if beside else max(left, 7.0 * len(row_axis) + 10)
    width = max(width, start + 6.6 * len(column_axis) + 4)
    parts = [
        text(start, 12, column_axis, kind="axis"),
        text(0, top - 6 if beside else 12, row_axis, kind="axis"),
        *_column_labels(columns, left, top, cell, turned),
        *_row_labels(rows, left, top, tall),
    ]
    if large or len(columns) > _LARGEST_DRAWN:
        parts.append(_image(matrix, left, top, cell * len(columns), tall * len(rows)))
    else:
        parts += _cells(matrix, rows, columns, left, top, cell, tall)
    return picture(width, height, label, *parts)


def _labelled(count: int, size: float, apart: float) -> list[int]:
    """Which of `count` cells of `size` pixels carry a label, so that labels are `apart` pixels apart."""
    return [int(number) - 1 for number in whole_ticks(1, count, max(2, int(count * size / apart)))]


def _column_labels(names: Sequence[str], left: float, top: float, cell: float, turned: bool) -> list[Markup]:
    parts = []
    for index in range(len(names)) if turned else _labelled(len(names), cell, 22):
        x = left + cell * (index + 0.5)
        if turned:
            turn = f"rotate(-50 {x + 3:.1f} {top - 5:.1f})"
            parts.append(text(x + 3, top - 5, clip(names[index], 62, 11), kind="tick", transform=turn))
        else:
            name = names[index] if 6.6 * len(names[index]) <= max(cell, 22) else str(index + 1)
            parts.append(text(x, top - 6, name, anchor="middle", kind="tick"))
    return parts


def _row_labels(names: Sequence[str], left: float, top: float, tall: float) -> list[Markup]:
    return [
        el("g", el("title", names[i]), _row_label(names[i], left, top + tall * (i + 0.5) + 4))
        for i in _labelled(len(names), tall, 13)
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
                parts.append(el("text", percent(value, 0), text_anchor="middle", class_=kind, **place))
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
