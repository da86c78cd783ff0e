"""Plain values from words and files, read as the types that fields declare (`core.declared`)."""

import math
from collections.abc import Mapping

from hypermnesia.core.declared import Mismatch, choices_of, convert, describe
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.experiments.config.words import write_value


def read(hint: object, value: object, where: str) -> object:
    """`value`, which is plain (see `parse_words`), as the type `hint`.

    Raises `HypermnesiaError` that names `where` if the value is not of the type or out of its range, `TypeError` if
    the type is not one of those that an option may have.
    """
    try:
        return convert(hint, value)
    except Mismatch:
        raise _error(hint, value, where) from None


def _error(hint: object, value: object, where: str) -> HypermnesiaError:
    choices = choices_of(hint)
    if choices and isinstance(value, str):
        return unknown(where, value, choices)
    expected = describe(hint)
    advice = ""
    if isinstance(value, float) and not math.isfinite(value) and "number" in expected:
        advice = "; it must be finite"
    elif "text" in expected and isinstance(value, int | float):
        advice = "; quote it if it is text"
    elif expected.startswith("[") and not isinstance(value, list | tuple | Mapping):
        advice = f"; write a list as [{_shown(value)}]"
    return HypermnesiaError(f"{where}: expected {expected}, got {_kind(value)}{_shown(value)}{advice}")


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    names = {int: "integer ", float: "number ", str: "text ", list: "list ", tuple: "list ", dict: "keys "}
    return names[type(value)]


def _shown(value: object) -> str:
    text = ", ".join(value) if isinstance(value, Mapping) else write_value(value)
    return text if len(text) <= 80 else text[:77] + "..."
