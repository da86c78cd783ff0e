"""A picture by itself: a file of its own, or an image in a notebook, with the colours of the report's page."""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

from hypermnesia.core.files import replace_file
from hypermnesia.report.draw.svg import el

_SHEET = Path(__file__).parents[1] / "templates" / "style.css"
_HATCH = Markup(
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="var(--panel)"/><path d="M0 0V6" stroke="var(--grid)" stroke-width="3"/></pattern>'
)


@cache
def _style() -> str:
    """The rules of the page that are about pictures: its colours, light and dark, and what is within an svg."""
    colours, _, rules = _SHEET.read_text(encoding="utf-8").partition("* {")
    own = [line for line in rules.splitlines() if line.startswith(("svg ", ".s0", ".s4"))]
    return "\n".join([colours, *own, "svg { font-family: system-ui, sans-serif; background: var(--paper) }"])


@dataclass(frozen=True)
class Picture:
    """An SVG picture. Notebooks show it; `save` writes it."""

    svg: str
    """The whole file."""

    @classmethod
    def of(cls, drawn: Markup) -> "Picture":
        """What `draw.svg.picture` gives, with all that it needs from outside put in."""
        head, _, rest = str(drawn).partition(">")
        inside = el("style", Markup(_style())) + el("defs", _HATCH)
        return cls(f'{head} xmlns="http://www.w3.org/2000/svg">{inside}{rest}')

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file, by convention NAME.svg."""
        return replace_file(Path(path), self.svg.encode())

    def _repr_html_(self) -> str:
        """An image, so that neither the notebook's style nor that of other pictures gets in."""
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img alt="" src="data:image/svg+xml;base64,{data}">'

    def __repr__(self) -> str:
        return f"Picture of {len(self.svg):,} characters of SVG: picture.save('NAME.svg')"
