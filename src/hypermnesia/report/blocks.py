"""What the template lays out: sections of blocks of figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hypermnesia.core.units import percent
from hypermnesia.report.draw import colours
from hypermnesia.report.draw.svg import el


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    swatch: Markup
    name: str


@dataclass(frozen=True)
class Figure:
    """A picture with its title above and a remark below; a wide one scrolls sideways in its own box."""

    title: str
    picture: Markup
    keys: Sequence[Key] = ()
    remark: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Block:
    """Figures side by side under one heading and one legend. `scale` adds the colour bar of heat maps."""

    title: str
    figures: Sequence[Figure]
    keys: Sequence[Key] = ()
    scale: bool = False
    collapsed: bool = False
    images: Sequence[str] = ()  # data addresses


@dataclass(frozen=True)
class Section:
    title: str
    about: str
    blocks: Sequence[Block]


def key(name: str, index: int, *, marked: bool = True) -> Key:
    """The legend of series `index`, drawn with or without markers."""
    return Key(_swatch(index, {"class_": colours.series_class(index)}, marked), name)


def ordered_key(name: str, position: int, total: int, *, marked: bool = True) -> Key:
    """The legend of a series that is coloured by its rank."""
    return Key(_swatch(0, {"style": colours.in_order(position, total)}, marked), name)


def _swatch(index: int, look: dict[str, object], marked: bool) -> Markup:
    curve = el("path", d="M1 7H27", class_="curve", stroke_dasharray=colours.dash(index, marked=marked))
    inner = el("g", curve, *([colours.mark(14, 7, index)] if marked else []), **look)
    return el("svg", inner, viewBox="0 0 28 14", width="28", height="14", aria_hidden="true")


def colour_bar() -> Markup:
    """The legend of heat maps: 0 to 100 %, and the hatching of absent entries."""
    steps = 60
    parts = [
        el(
            "rect",
            x=3.0 * i,
            y=0.0,
            width=3.5,
            height=12.0,
            fill=colours.hexadecimal(colours.heat(i / (steps - 1))),
        )
        for i in range(steps)
    ]
    for share in (0, 0.5, 1):
        x, anchor = 180 * share, "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(el("text", f"{percent(share, 0)} %", x=x, y=26.0, text_anchor=anchor, class_="tick"))
    parts.append(el("rect", x=204.0, y=0.0, width=16.0, height=12.0, fill="url(#hatch)"))
    parts.append(el("text", "absent", x=226.0, y=10.5, class_="tick"))
    return el(
        "svg",
        *parts,
        viewBox="0 0 270 30",
        width="270",
        height="30",
        role="img",
        aria_label="Colours: 0 to 100 %",
    )
