"""Names from files and data, as they may be printed: they move no cursor, change no colour, and begin no line."""

import re

_UNSEEN = "\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters (C0 and C1), breaks of lines, turns of the direction of writing, and bytes that were no text."""
_CONTROL, _BUT_BREAKS = re.compile(f"[{_UNSEEN}]"), re.compile(f"(?!\n)[{_UNSEEN}]")


def printable(text: str, breaks: bool = False) -> str:
    """`text` with what a terminal would obey, and not show, as Python writes it: `\\x1b[2J`, `\\n`.

    `breaks`: our own text of several lines, whose names are printable already; its line feeds stay.
    """
    unseen = _BUT_BREAKS if breaks else _CONTROL
    return unseen.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
