"""Configuration trees as dotted keys and as text, with secrets taken out."""

import re
from collections.abc import Mapping
from typing import Any

from hypermnesia.core import dotted

_SECRET_KEY = re.compile(r"(api_?key|token|secret|passw(or)?d|credential)s?$", re.IGNORECASE)
_SECRET_LINE = re.compile(
    r"""^([ \t]*["']?[\w.-]*?(?:api_?key|token|secret|passw(?:or)?d|credential)s?["']?[ \t]*=[ \t]*)\S.*$""",
    re.IGNORECASE | re.MULTILINE,
)
_URL_LOGIN = re.compile(r"(://)[^/\s@]+@")
_HIDDEN = "(hidden)"


def redact(text: str) -> str:
    """TOML text without the values of keys that look secret and without logins in addresses."""
    return _URL_LOGIN.sub(rf"\1{_HIDDEN}@", _SECRET_LINE.sub(rf'\1"{_HIDDEN}"', text))


def flatten(tree: Mapping[str, Any]) -> dict[str, str]:
    """{"train": {"lr": 0.1}} -> {"train.lr": "0.1"}; lists stay whole; secrets are hidden."""
    return {
        key: _HIDDEN if _SECRET_KEY.search(key) else _URL_LOGIN.sub(rf"\1{_HIDDEN}@", _shown(value))
        for key, value in dotted.flatten(tree).items()
    }


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "null" if value is None else str(value)
