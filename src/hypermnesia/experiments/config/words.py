"""The syntax of `key=value` words: what stands on the command line, before anyone asks what it means.

A value is one of

- an integer `400` (64 bits), a number `1e-3`, `inf`, `nan`;
- `true`, `false`, `none` (also `null`, and any of them capitalised);
- text, bare (`adam`, `layer4.*`) or quoted as in TOML (`"a, b"`, `'400'`);
- a list `[400,400]` of values.

Bare commas separate variants: `cut=none,layer1,[a,b]` stands for three words.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from itertools import product

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.config.toml import quote

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
_INTEGER = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"\\\n]|\\.)*"' + r"|'[^'\n]*'")
_NAMED = {"true": True, "false": False, "none": None, "null": None}
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./*-]*")
_CLOSING = {"[": "]", "(": ")"}
_MAX_DEPTH = 16  # of brackets; far more than any option needs, far less than Python's recursion limit


def parse_words(words: Iterable[str]) -> dict[str, object]:
    """Keys and plain values (int, float, bool, None, str, list) of `key=value` words, in their order.

    Raises `HypermnesiaError` for anything that is no such word, for a key given twice, and for bare commas: a
    place that takes variants calls `variants` first.
    """
    values: dict[str, object] = {}
    for word in words:
        key, text = _key_and_text(word)
        if key in values:
            raise HypermnesiaError(f"{key} is given twice; give it once")
        parts = _split(text, word)
        if len(parts) > 1:
            raise HypermnesiaError(
                f"{word!r}: bare commas make variants, and here one value is expected; "
                f"write a list as {key}=[{text}], text as {key}='\"{text}\"'"
            )
        values[key] = _value(parts[0], word)
    return values


def split_variants(word: str) -> list[str]:
    """The words that one word stands for: `cut=none,layer1` gives `cut=none` and `cut=layer1`.

    Commas inside quotes, brackets and parentheses do not count. The values themselves are not read.
    """
    key, text = _key_and_text(word)
    return [f"{key}={part}" for part in _split(text, word)]


def variants(words: Sequence[str]) -> list[list[str]]:
    """Every combination of the words' variants, the last word varying fastest; of no words, the empty one."""
    return [list(choice) for choice in product(*(split_variants(word) for word in words))]


def write_value(value: object) -> str:
    """`value` as it stands in a word: `parse_words` reads it from there as the same (a tuple as a list)."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return value if _BARE.fullmatch(value) and _value(value, value) == value else quote(value)
        case list() | tuple():
            return "[" + ",".join(write_value(item) for item in value) + "]"
        case _:
            raise TypeError(f"a configuration holds no {type(value).__name__}: {value!r}")


def _key_and_text(word: str) -> tuple[str, str]:
    key, equals, text = (part.strip() for part in word.partition("="))
    if not equals or not _KEY.fullmatch(key):
        raise HypermnesiaError(f"{word!r} is no option; write options as key=value, such as drift.beta=0.1")
    if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
        raise HypermnesiaError(f"{word!r} holds bytes that are not UTF-8; rename what it names")
    return key, text


def _split(text: str, word: str) -> list[str]:
    """`text` cut at the commas that stand outside of quotes and brackets; no part is empty."""
    parts, start, at, closing = [], 0, 0, ""
    while at < len(text):
        character = text[at]
        if character in "\"'" and _begins_item(text, at, start):
            at = _end_of_quote(text, at, word)
            continue
        if character in _CLOSING:
            closing += _CLOSING[character]
            if len(closing) > _MAX_DEPTH:
                raise HypermnesiaError(f"{word!r}: more than {_MAX_DEPTH} brackets inside one another")
        elif character in _CLOSING.values():
            if not closing.endswith(character):
                raise HypermnesiaError(f"{word!r}: {character!r} closes nothing; quote text with brackets")
            closing = closing[:-1]
        elif character == "," and not closing:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    if closing:
        raise HypermnesiaError(f"{word!r}: {closing[-1]!r} is missing; quote text with brackets")
    parts.append(text[start:].strip())
    if not all(parts):
        raise HypermnesiaError(f"{word!r}: a value is missing; write empty text as '\"\"'")
    return parts


def _begins_item(text: str, at: int, start: int) -> bool:
    """Whether a quote at `at` opens quoted text; elsewhere, as in `it's`, it is a plain character."""
    before = text[start:at].rstrip()
    return not before or before[-1] in "[(,"


def _end_of_quote(text: str, at: int, word: str) -> int:
    quoted = _QUOTED.match(text, at)
    if quoted is None:
        raise HypermnesiaError(f"{word!r}: the quote {text[at]} is not closed")
    return quoted.end()


def _value(text: str, word: str) -> object:
    if text[0] in "\"'":
        return _unquote(text, word)
    if text[0] == "[":
        return _list(text, word)
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    if _INTEGER.fullmatch(text):
        if len(text) > 30 or not -(2**63) <= int(text) < 2**63:
            raise HypermnesiaError(f"{word!r}: an integer beyond 64 bits; quote it if it is text")
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def _unquote(text: str, word: str) -> str:
    if not _QUOTED.fullmatch(text):
        raise HypermnesiaError(f"{word!r}: text goes on after its closing quote")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise HypermnesiaError(f"{word!r}: not quoted as in TOML: {error}") from error


def _list(text: str, word: str) -> list[object]:
    if text[-1] != "]":
        raise HypermnesiaError(f"{word!r}: a list ends with ]; quote text that begins with a bracket")
    inside = text[1:-1].strip()
    if not inside:
        return []
    return [_value(part, word) for part in _split(inside.removesuffix(","), word)]
