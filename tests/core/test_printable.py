"""Names that may be printed."""

import pytest

from hypermnesia.core.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2Jcat", r"\x1b[2Jcat"),
        ("cat\nhypermnesia: all is well", r"cat\nhypermnesia: all is well"),
        ("a\r\tb\x9b1m\x7f", r"a\r\tb\x9b1m\x7f"),
        ("\u202etac\u2028", r"\u202etac\u2028"),
        ("caf\udce9", r"caf\udce9"),
        ("Katze 猫 🐈\u200d⬛ é [bold]", "Katze 猫 🐈\u200d⬛ é [bold]"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_our_own_breaks_stay() -> None:
    assert printable("two\nlines\x1b[1m", breaks=True) == "two\nlines\\x1b[1m"
